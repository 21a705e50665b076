import { createCipheriv, createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

const filesInDirectory = 100;

/**
 * Writes `fileCount` files of together `bytes` bytes below `dir`: the sizes of
 * an installed system, mostly a few kB with some of megabytes, in random bytes
 * that are the same on every machine.
 */
export async function writeBallast(
  dir: string,
  { fileCount, bytes }: { fileCount: number; bytes: number },
): Promise<void> {
  const noise = createCipheriv(
    "aes-128-ctr",
    createHash("md5").update("taos-hosts ballast").digest(),
    Buffer.alloc(16),
  );
  const weights = Array.from({ length: fileCount }, (_, index) => weight(index));
  const sum = weights.reduce((total, each) => total + each, 0);
  let written = 0;
  let wanted = 0;
  for (const [index, each] of weights.entries()) {
    wanted += (each / sum) * bytes;
    const size = Math.max(0, Math.round(wanted) - written);
    written += size;
    const parent = join(dir, `d${Math.floor(index / filesInDirectory)}`);
    if (index % filesInDirectory === 0) await mkdir(parent, { recursive: true });
    await writeFile(join(parent, `f${index}`), noise.update(Buffer.alloc(size)));
  }
}

/** One file in a hundred holds about half of all bytes. */
function weight(index: number): number {
  return index % 100 === 99 ? 100 : 0.5 + (index % 10) / 10;
}
