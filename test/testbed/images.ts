import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { execa } from "execa";
import type { IncusDaemon } from "./daemon.ts";
import { withFileLock } from "./file-lock.ts";
import { writeBallast } from "./image-ballast.ts";
import { init, metadata, templates, udhcpcScript } from "./image-files.ts";
import { busybox, writeImageTree } from "./image-root.ts";

/** Change it when image-root.ts or image-ballast.ts make other content than before. */
const layout = "1";

/** Files of a test image, kept for all runs on this machine; never write to them. */
export type TestImage = {
  /** Split form: metadata.yaml and templates/. */
  metadataFile: string;
  /** Split form: the root as squashfs. */
  rootfsFile: string;
  /** Unified form: everything in one tar.gz; only the small image has it. */
  unifiedFile: string;
  /** Fingerprint (sha256) Incus gives the split form. */
  fingerprint: string;
  /** Fingerprint (sha256) Incus gives the unified form. */
  unifiedFingerprint: string;
};

/** The files of a big image; it has no unified form. */
export type BigImage = Omit<TestImage, "unifiedFile" | "unifiedFingerprint">;

/** Where images are kept: below XDG_CACHE_HOME or /var/cache. */
function imageCache(): string {
  return join(process.env["XDG_CACHE_HOME"] ?? "/var/cache", "taos-hosts-test");
}

/** The small busybox image (1 MB), built the first time. */
export async function testImage(): Promise<TestImage> {
  const dir = await cached("busybox", async (work) => {
    await writeImageTree(work, "busybox for tests");
    await packMetadata(work);
    await packRoot(work, []);
    const members = ["metadata.yaml", "templates", "rootfs"];
    await run("tar", [
      ...tarOptions,
      "--xattrs",
      "--xattrs-include=*",
      "--gzip",
      "-cf",
      join(work, "unified.tar.gz"),
      "-C",
      work,
      ...members,
    ]);
  });
  const unifiedFile = join(dir, "unified.tar.gz");
  return { ...(await splitForm(dir)), unifiedFile, unifiedFingerprint: await sha256(unifiedFile) };
}

/**
 * An image of real size, built the first time it is asked for: the small one
 * plus incompressible files that come out the same on every machine.
 *
 * @param fileCount number of added files
 * @param bytes their total size
 */
export async function buildBigImage({
  fileCount,
  bytes,
}: {
  fileCount: number;
  bytes: number;
}): Promise<BigImage> {
  const dir = await cached(`big-${fileCount}-${bytes}`, async (work) => {
    await writeImageTree(work, `${fileCount} files, ${bytes} bytes`);
    await writeBallast(join(work, "rootfs", "opt"), { fileCount, bytes });
    await packMetadata(work);
    // Random data does not compress: do not try.
    await packRoot(work, ["-noD", "-noF"]);
  });
  return splitForm(dir);
}

/** Imports the small image under an alias and returns its fingerprint. */
export async function importImage(daemon: IncusDaemon, alias: string, image?: BigImage): Promise<string> {
  const { metadataFile, rootfsFile, fingerprint } = image ?? (await testImage());
  await daemon.incus("image", "import", metadataFile, rootfsFile, "--alias", alias);
  return fingerprint;
}

/** What keeps an image from being made a container of. */
export type Unfit = "other architecture" | "virtual machine";

/** Imports an image that no container of this machine can be made from. */
export async function importUnfitImage(daemon: IncusDaemon, alias: string, kind: Unfit): Promise<void> {
  const { metadataFile, rootfsFile } = await testImage();
  const work = await mkdtemp(join(daemon.dataDir, "unfit-"));
  if (kind === "virtual machine") {
    // Incus goes by the first bytes: those of qcow2.
    const disk = join(work, "disk.qcow2");
    await writeFile(disk, Buffer.concat([Buffer.from("QFI\xfb", "latin1"), Buffer.alloc(1024)]));
    await daemon.incus("image", "import", metadataFile, disk, "--alias", alias);
    return;
  }
  await mkdir(join(work, "templates"));
  for (const [name, { text }] of Object.entries(templates))
    await writeFile(join(work, "templates", name), text);
  await writeFile(
    join(work, "metadata.yaml"),
    metadata(process.arch === "arm64" ? "s390x" : "aarch64", "foreign"),
  );
  await packMetadata(work);
  await daemon.incus("image", "import", join(work, "metadata.tar"), rootfsFile, "--alias", alias);
}

/** The sha256 of one or more files, read one after the other, in hexadecimal. */
export async function sha256(...files: string[]): Promise<string> {
  const hash = createHash("sha256");
  for (const file of files) await pipeline(createReadStream(file), hash, { end: false });
  return hash.digest("hex");
}

const tarOptions = ["--sort=name", "--mtime=@1700000000", "--numeric-owner", "--owner=0", "--group=0"];

async function packMetadata(work: string): Promise<void> {
  await run("tar", [
    ...tarOptions,
    "-cf",
    join(work, "metadata.tar"),
    "-C",
    work,
    "metadata.yaml",
    "templates",
  ]);
}

async function packRoot(work: string, options: string[]): Promise<void> {
  const times = ["-all-time", "1700000000", "-mkfs-time", "1700000000"];
  await run("mksquashfs", [
    join(work, "rootfs"),
    join(work, "rootfs.squashfs"),
    "-noappend",
    "-quiet",
    "-no-progress",
    "-comp",
    "zstd",
    ...times,
    ...options,
  ]);
}

async function splitForm(dir: string): Promise<BigImage> {
  const fingerprint = (await readFile(join(dir, "fingerprint"), "utf8")).trim();
  return { metadataFile: join(dir, "metadata.tar"), rootfsFile: join(dir, "rootfs.squashfs"), fingerprint };
}

/** Builds a directory of the cache once; it appears complete or not at all. */
async function cached(kind: string, build: (work: string) => Promise<void>): Promise<string> {
  const recipe = [
    layout,
    init,
    udhcpcScript,
    JSON.stringify(templates),
    metadata("any", ""),
    await sha256(busybox),
  ];
  const version = createHash("sha256").update(recipe.join("\0")).digest("hex").slice(0, 12);
  const dir = join(imageCache(), `${kind}-${version}`);
  const complete = () =>
    stat(dir).then(
      () => true,
      () => false,
    );
  if (await complete()) return dir;
  await withFileLock(`${dir}.lock`, async () => {
    if (await complete()) return;
    await mkdir(imageCache(), { recursive: true });
    const work = await mkdtemp(`${dir}.work-`);
    try {
      await build(work);
      await writeFile(
        join(work, "fingerprint"),
        await sha256(join(work, "metadata.tar"), join(work, "rootfs.squashfs")),
      );
      for (const name of ["rootfs", "templates"]) await rm(join(work, name), { recursive: true });
      await rename(work, dir);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  });
  return dir;
}

async function run(file: string, args: string[]): Promise<void> {
  await execa(file, args, { stdin: "ignore", timeout: 300_000 });
}
