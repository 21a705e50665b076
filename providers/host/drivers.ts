import { access, constants, readFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import type { Server } from "../incus/schemas.ts";
import type { HostFiles } from "./files.ts";
import { SYSTEM_PATH } from "./loops.ts";

/** What Incus runs to make and grow a btrfs pool. */
const BTRFS_PROGRAMS = ["btrfs", "mkfs.btrfs", "losetup"];

/**
 * Drivers that the daemon can really use. Its own list says of btrfs only that a `btrfs` program was there when it
 * started; where the host is this machine, programs and kernel are looked at instead. `dir` always works.
 */
export async function usableDrivers(server: Server, files: HostFiles | undefined): Promise<string[]> {
  const listed = server.environment?.storage_supported_drivers.map(({ Name }) => Name) ?? [];
  const others = listed.filter((name) => name !== "btrfs" && name !== "dir");
  const btrfs = files ? await provesBtrfs(server.environment?.server_pid ?? 0) : listed.includes("btrfs");
  return [...(btrfs ? ["btrfs"] : []), ...others, "dir"].sort();
}

async function provesBtrfs(daemonPid: number): Promise<boolean> {
  const root = `/proc/${daemonPid}/root`;
  const directories = (await pathOf(daemonPid)).split(":").filter((directory) => directory.startsWith("/"));
  const programs = await Promise.all(
    BTRFS_PROGRAMS.map((program) =>
      anyOf(directories.map((directory) => isExecutable(join(root, directory, program)))),
    ),
  );
  return programs.every(Boolean) && (await kernelHasBtrfs());
}

/** PATH of the daemon itself: it is what runs the programs. */
async function pathOf(pid: number): Promise<string> {
  const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
  const entry = environment.split("\0").find((line) => line.startsWith("PATH="));
  return entry?.slice("PATH=".length) || SYSTEM_PATH;
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function anyOf(answers: Promise<boolean>[]): Promise<boolean> {
  return (await Promise.all(answers)).includes(true);
}

/** Built in or loaded, or a module that could be loaded. */
async function kernelHasBtrfs(): Promise<boolean> {
  const filesystems = await readFile("/proc/filesystems", "utf8").catch(() => "");
  if (/\bbtrfs$/m.test(filesystems)) return true;
  const { exitCode } = await execa("modprobe", ["--dry-run", "--quiet", "btrfs"], {
    reject: false,
    stdin: "ignore",
    timeout: 5_000,
    env: { PATH: `${process.env["PATH"] ?? ""}:${SYSTEM_PATH}` },
  });
  return exitCode === 0;
}

/**
 * Whether this machine is an unprivileged container: its root is another user of the real host (first line of uid_map),
 * and the kernel lets it mount no file system. Null where it cannot be told.
 */
export async function isUnprivilegedHere(): Promise<boolean | null> {
  const map = await readFile("/proc/self/uid_map", "utf8").catch(() => "");
  const [, hostStart] = map.trim().split(/\s+/);
  return hostStart === undefined ? null : hostStart !== "0";
}
