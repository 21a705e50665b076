import type { Problem } from "../common/problem.ts";

/** Drivers that a config may name. `auto` is btrfs wherever the host can, zfs only where it cannot and zfs is there. */
export type WantedDriver = "auto" | "btrfs" | "zfs" | "dir";

/** Drivers on which an instance is a snapshot of its image. */
export function isCopyOnWrite(driver: string): boolean {
  return driver === "btrfs" || driver === "zfs";
}

/** The driver that `wanted` means on this host, or a refusal with what to install. */
export function chooseDriver(
  wanted: WantedDriver,
  usable: readonly string[],
): { driver: "btrfs" | "zfs" | "dir" } | Problem {
  if (wanted === "dir") return { driver: "dir" };
  if (wanted === "auto") {
    if (usable.includes("btrfs")) return { driver: "btrfs" };
    if (usable.includes("zfs")) return { driver: "zfs" };
    return {
      reason: "neither btrfs nor zfs can be used on this host",
      remedy:
        "Install btrfs-progs (apt-get install btrfs-progs) and a kernel with btrfs, or set driver: dir.",
    };
  }
  if (usable.includes(wanted)) return { driver: wanted };
  return {
    reason: `driver ${wanted} cannot be used on this host`,
    remedy:
      wanted === "btrfs"
        ? "Install btrfs-progs (apt-get install btrfs-progs) and a kernel with btrfs, or set another driver."
        : "zfs is never installed by taos-hosts: install it yourself, or set driver: btrfs.",
  };
}
