import { join } from "node:path";
import { SHORT, SYSTEM_PATH } from "../common/command.ts";
import type { Server } from "../incus/schemas.ts";
import { environmentOf, type HostFiles } from "./files.ts";
import type { HostMachine } from "./machine.ts";

/** What Incus runs to make and grow a btrfs pool. */
const BTRFS_PROGRAMS = ["btrfs", "mkfs.btrfs", "losetup"];

/**
 * Drivers that the daemon can really use. Its own list says of btrfs only that a `btrfs` program was there when it
 * started; where the host is this machine, programs and kernel are looked at instead. `dir` always works.
 */
export async function usableDrivers(server: Server, files: HostFiles | undefined): Promise<string[]> {
  const listed = server.environment?.storage_supported_drivers.map(({ Name }) => Name) ?? [];
  const others = listed.filter((name) => name !== "btrfs" && name !== "dir");
  const btrfs = files
    ? await provesBtrfs(files.machine, server.environment?.server_pid ?? 0)
    : listed.includes("btrfs");
  return [...(btrfs ? ["btrfs"] : []), ...others, "dir"].sort();
}

async function provesBtrfs(machine: HostMachine, daemonPid: number): Promise<boolean> {
  const root = `/proc/${daemonPid}/root`;
  const path = environmentOf(await machine.read(`/proc/${daemonPid}/environ`), "PATH") ?? SYSTEM_PATH;
  const directories = path.split(":").filter((directory) => directory.startsWith("/"));
  const places = BTRFS_PROGRAMS.map((program) =>
    directories.map((directory) => join(root, directory, program)),
  );
  const found = await machine.executables(places.flat());
  const isComplete = places.every((paths) => paths.some((path) => found.includes(path)));
  return isComplete && (await kernelHasBtrfs(machine));
}

/** Built in or loaded, or a module that could be loaded. */
export async function kernelHasBtrfs(machine: HostMachine): Promise<boolean> {
  if (/\bbtrfs$/m.test((await machine.read("/proc/filesystems")) ?? "")) return true;
  const { exitCode } = await machine.run(["modprobe", "--dry-run", "--quiet", "btrfs"], { timeout: SHORT });
  return exitCode === 0;
}

/**
 * Whether a machine is an unprivileged container: its root is another user of the real host (first line of uid_map),
 * and the kernel lets it mount no file system. Null where it cannot be told.
 */
export async function isUnprivileged(machine: HostMachine): Promise<boolean | null> {
  const map = (await machine.read("/proc/self/uid_map")) ?? "";
  const [, hostStart] = map.trim().split(/\s+/);
  return hostStart === undefined ? null : hostStart !== "0";
}
