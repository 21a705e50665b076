import { readFile, stat, statfs } from "node:fs/promises";
import { basename } from "node:path";
import { execa } from "execa";
import { z } from "zod";

/** Where system programs are, also where the caller's PATH lacks them. */
export const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** A loop device on a file. */
export interface LoopDeviceLook {
  /** Such as `/dev/loop3`. */
  device: string;
  /** Its size, which may lag behind the file's. */
  bytes: number;
}

/** A loop file as it is; a symlink is followed, as Incus itself does. Sizes in bytes. */
export interface LoopFileLook {
  bytes: number;
  devices: LoopDeviceLook[];
  /** Free on the file system that the file itself is on. */
  freeBytes: number;
}

const SECTOR = 512;

/** Answer of losetup --json; nothing at all where there is no loop device. */
const Losetup = z.object({
  loopdevices: z.array(
    z.object({ name: z.string(), "back-ino": z.coerce.string(), "back-maj:min": z.string() }),
  ),
});

/**
 * Length of a loop file and the loop devices on it. These are found by the file's own identity: what they call it
 * depends on mount namespaces and symlinks.
 * @returns undefined where it cannot be told
 */
export async function lookAtLoopFile(path: string): Promise<LoopFileLook | undefined> {
  try {
    const [file, space] = await Promise.all([stat(path, { bigint: true }), statfs(path)]);
    if (!file.isFile()) return undefined;
    const names = await devicesOn(`${deviceNumber(file.dev)} ${file.ino}`);
    const devices = await Promise.all(
      names.map(async (device) => ({ device, bytes: await deviceBytes(device) })),
    );
    return { bytes: Number(file.size), devices, freeBytes: space.bavail * space.bsize };
  } catch {
    return undefined;
  }
}

async function devicesOn(identity: string): Promise<string[]> {
  const { stdout } = await execa("losetup", ["--list", "--json", "--output", "NAME,BACK-INO,BACK-MAJ:MIN"], {
    stdin: "ignore",
    timeout: 10_000,
    env: { PATH: `${process.env["PATH"] ?? ""}:${SYSTEM_PATH}` },
  });
  if (stdout.trim() === "") return [];
  const { loopdevices } = Losetup.parse(JSON.parse(stdout));
  return loopdevices
    .filter((one) => `${one["back-maj:min"].trim()} ${one["back-ino"].trim()}` === identity)
    .map(({ name }) => name.trim());
}

async function deviceBytes(device: string): Promise<number> {
  const text = await readFile(`/sys/class/block/${basename(device)}/size`, "utf8");
  return Number(text) * SECTOR;
}

/** `major:minor` of a device number in the layout of stat(2). */
function deviceNumber(dev: bigint): string {
  return `${(dev >> 8n) & 0xfffn}:${(dev & 0xffn) | ((dev >> 12n) & 0xffffff00n)}`;
}
