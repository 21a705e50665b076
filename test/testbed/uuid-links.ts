import { existsSync } from "node:fs";
import { mkdir, open, readdir, readFile, readlink, rm, symlink } from "node:fs/promises";
import { basename, join, resolve } from "node:path";

const linkDir = "/dev/disk/by-uuid";
const everyMs = 100;

/**
 * Stands in for udev where none runs: as soon as a btrfs appears on a loop
 * device, links it below /dev/disk/by-uuid. Incus waits 10 s for that link
 * when it makes a pool on a block device, and mounts the pool by it later.
 * Ends by itself when the device no longer belongs to `file`.
 */
export function linkByUuid(device: string, file: string): void {
  if (existsSync("/run/udev/control")) return;
  const look = async (): Promise<void> => {
    if (!(await isBackedBy(device, file))) {
      clearInterval(timer);
      return;
    }
    const uuid = await btrfsUuid(device);
    if (uuid === undefined) return;
    await mkdir(linkDir, { recursive: true });
    // Already there, from the look before.
    await symlink(device, join(linkDir, uuid)).catch(() => undefined);
  };
  const timer = setInterval(() => void look().catch(() => undefined), everyMs);
  timer.unref();
}

/** Removes the links of a device, where this stand-in and not udev made them. */
export async function removeUuidLinks(device: string): Promise<void> {
  if (existsSync("/run/udev/control")) return;
  for (const name of await readdir(linkDir).catch(() => [])) {
    const link = join(linkDir, name);
    const target = await readlink(link).catch(() => undefined);
    if (target !== undefined && resolve(linkDir, target) === device) await rm(link, { force: true });
  }
}

async function isBackedBy(device: string, file: string): Promise<boolean> {
  const backing = await readFile(`/sys/block/${basename(device)}/loop/backing_file`, "utf8").catch(() => "");
  return backing.trim() === file;
}

/** The file system id in the first superblock of a btrfs, at 64 KiB. */
async function btrfsUuid(device: string): Promise<string | undefined> {
  const handle = await open(device, "r");
  try {
    const block = Buffer.alloc(4096);
    await handle.read(block, 0, block.length, 64 * 1024);
    if (block.toString("latin1", 0x40, 0x48) !== "_BHRfS_M") return undefined;
    return block.toString("hex", 0x20, 0x30).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  } finally {
    await handle.close();
  }
}
