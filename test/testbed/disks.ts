import { mkdir, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import type { IncusDaemon } from "./daemon.ts";
import { detachLoops, unmountBelow } from "./leftovers.ts";
import { linkByUuid } from "./uuid-links.ts";

/** A sparse file as a block device. */
export type LoopDevice = {
  /** Such as `/dev/loop3`. */
  device: string;
  file: string;
  remove(): Promise<void>;
};

/** Makes an empty block device for one host; it goes with the daemon at the latest. */
export async function loopDevice(daemon: IncusDaemon, bytes: number): Promise<LoopDevice> {
  const dir = await mkdtemp(join(daemon.dataDir, "disk-"));
  const file = join(dir, "disk.img");
  await writeFile(file, "");
  await truncate(file, bytes);
  const { stdout: device } = await execa("losetup", ["--find", "--show", file], {
    stdin: "ignore",
    timeout: 30_000,
  });
  linkByUuid(device, file);
  return { device, file, remove: () => removeDisk(dir) };
}

/** A mounted file system. */
export type Mounted = {
  /** Its mount point, seen by the daemon too. */
  path: string;
  device: string;
  remove(): Promise<void>;
};

/** Makes and mounts an empty btrfs for one host; it goes with the daemon at the latest. */
export async function btrfsMount(daemon: IncusDaemon, bytes = 512 * 1024 ** 2): Promise<Mounted> {
  return mounted(daemon, bytes, "mkfs.btrfs", ["--quiet"]);
}

/** As `btrfsMount`, with ext4: a small host file system to run out of, or one where btrfs is not. */
export async function ext4Mount(daemon: IncusDaemon, bytes = 512 * 1024 ** 2): Promise<Mounted> {
  return mounted(daemon, bytes, "mkfs.ext4", ["-q"]);
}

async function mounted(
  daemon: IncusDaemon,
  bytes: number,
  mkfs: string,
  options: string[],
): Promise<Mounted> {
  const { device, file, remove } = await loopDevice(daemon, bytes);
  try {
    await execa(mkfs, [...options, device], { stdin: "ignore", timeout: 60_000 });
    const path = join(file, "..", "mount");
    await mkdir(path);
    await execa("mount", [device, path], { stdin: "ignore", timeout: 30_000 });
    return { path, device, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function removeDisk(dir: string): Promise<void> {
  await unmountBelow(dir);
  await detachLoops(dir);
  await rm(dir, { recursive: true, force: true });
}
