import { formatBytes } from "../common/bytes.ts";
import { listed } from "../common/listed.ts";
import { cowName, WORKER_POOL } from "../common/names.ts";
import type { PoolSizes } from "../host/pool-sizes.ts";

import { decideGrowth } from "./growth.ts";

/** Drivers that a config may name. `auto` is btrfs wherever the host can, zfs only where it cannot and zfs is there. */
export type WantedDriver = "auto" | "btrfs" | "zfs" | "dir";

/** Default size of a loop file and the least that is accepted, in bytes. */
export const DEFAULT_LOOP_SIZE = 50 * 1024 ** 3;
export const LEAST_LOOP_SIZE = 5 * 1024 ** 3;

/** Drivers on which an instance is a snapshot of its image. */
export function isCopyOnWrite(driver: string): boolean {
  return driver === "btrfs" || driver === "zfs";
}

/** What is on a pool, in all projects. Names are `name`, or `project/name` outside project `default`. */
export interface PoolContents {
  instances: string[];
  /** `instance/snapshot`, counted apart because a snapshot can outlive the notion that a pool is empty. */
  snapshots: string[];
  customVolumes: string[];
  buckets: string[];
  /** Daemon settings that keep a volume here: `storage.backups_volume`, `storage.images_volume`. */
  daemonVolumes: string[];
  /** Profiles with a disk device naming the pool; they block a deletion but are no content. */
  profiles: string[];
  /** Paths on disk that the database does not know; null where the host's files cannot be read. */
  leftovers: string[] | null;
}

/** The wish: one pool of the stack config. Sizes in bytes. */
export interface PoolWish {
  name: string;
  driver: WantedDriver;
  /** `loop`, a block device `/dev/…`, or a path on btrfs. */
  source: string;
  size?: number | undefined;
  /** Set for the second pool beside a `dir` pool: use that pool itself where it is copy-on-write already. */
  insteadOf?: string | undefined;
  /** The config names no pool: `settleWish` finds the one that is meant. */
  isUnnamed?: boolean | undefined;
}

/** The facts: what one look at the host showed. */
export interface PoolFacts {
  pool?: { driver: string; status: string; sizes: PoolSizes; contents: PoolContents } | undefined;
  /** A recreation of the pool was begun and not ended. */
  isRecreating?: boolean | undefined;
  /** A pool whose name differs from the wished one by case alone: surely the one that is meant. */
  namesake?: string | undefined;
  /** The pool named by `insteadOf`, where it exists. */
  original?: { driver: string } | undefined;
  /** A copy-on-write pool `<name>-cow` exists: migration has begun, the `dir` pool stays. */
  hasCowTwin: boolean;
  /** Drivers that the daemon can really use. */
  usableDrivers: string[];
  /** Bytes free for the loop file on the host; null where unknown. */
  hostFreeBytes: number | null;
  /** A loop file or directory of this pool's name that the database does not know, below Incus' directory. */
  strays?: string[] | undefined;
  /** The daemon runs in an unprivileged container, where no file system can be mounted. */
  unprivileged?: boolean | undefined;
}

/** What is done to the pool, by planner and provider alike. */
export type PoolDecision =
  | { action: "create"; driver: "btrfs" | "zfs" | "dir"; size?: number; reason: string }
  /** Used as it is; `remark` says what of the wish is not done, and why. */
  | { action: "adopt"; driver: string; reason: string; remark?: string }
  | { action: "grow"; driver: string; size: number; reason: string }
  | { action: "recreate"; driver: "btrfs" | "zfs"; size?: number; reason: string }
  /** Nothing is written; the host keeps what it has. Where there are blockers, `reason` ends before them: see `reasonOf`. */
  | { action: "leave"; driver: string; reason: string; remedy: string; blockers: string[] }
  /** The pool `insteadOf` serves; nothing is written. */
  | { action: "use-original"; driver: string; reason: string }
  | { action: "refuse"; reason: string; remedy: string; blockers: string[] };

/**
 * Why it was decided so, with what is in the way.
 * @param most names of what is in the way beyond this number are counted only
 */
export function reasonOf(
  decision: { reason: string; blockers?: readonly string[] },
  most = Number.POSITIVE_INFINITY,
): string {
  const { reason, blockers = [] } = decision;
  return blockers.length === 0 ? reason : `${reason} ${listed(blockers, most)}`;
}

/** Everything that makes a pool not empty, readable; empty array: nothing on it. Unknown leftovers count as none here. */
export function poolBlockers(contents: PoolContents): string[] {
  return [
    ...contents.instances,
    ...contents.snapshots.map((name) => `snapshot ${name}`),
    ...contents.customVolumes.map((name) => `volume ${name}`),
    ...contents.buckets.map((name) => `bucket ${name}`),
    ...contents.daemonVolumes.map((name) => `daemon setting ${name}`),
    ...(contents.leftovers ?? []).map((path) => `files unknown to the database: ${path}`),
  ];
}

/** The driver that `wanted` means on this host, or a refusal with what to install. */
export function chooseDriver(
  wanted: WantedDriver,
  usable: readonly string[],
): { driver: "btrfs" | "zfs" | "dir" } | { refusal: string; remedy: string } {
  if (wanted === "dir") return { driver: "dir" };
  if (wanted === "auto") {
    if (usable.includes("btrfs")) return { driver: "btrfs" };
    if (usable.includes("zfs")) return { driver: "zfs" };
    return {
      refusal: "neither btrfs nor zfs can be used on this host",
      remedy:
        "Install btrfs-progs (apt-get install btrfs-progs) and a kernel with btrfs, or set driver: dir.",
    };
  }
  if (usable.includes(wanted)) return { driver: wanted };
  return {
    refusal: `driver ${wanted} cannot be used on this host`,
    remedy:
      wanted === "btrfs"
        ? "Install btrfs-progs (apt-get install btrfs-progs) and a kernel with btrfs, or set another driver."
        : "zfs is never installed by taos-hosts: install it yourself, or set driver: btrfs.",
  };
}

/**
 * The size for a new loop file: the wish, else 50 GiB or 60 % of what is free if that is less.
 * @returns bytes, or a refusal where the host has no room for it
 */
export function chooseLoopSize(
  wanted: number | undefined,
  free: number | null,
): { size: number } | { refusal: string; remedy: string } {
  if (wanted !== undefined && wanted < LEAST_LOOP_SIZE) {
    return {
      refusal: `size ${formatBytes(wanted)} is too small for a loop file`,
      remedy: `Set size to at least ${formatBytes(LEAST_LOOP_SIZE)}.`,
    };
  }
  if (free === null) return { size: wanted ?? DEFAULT_LOOP_SIZE };
  const size = wanted ?? Math.min(DEFAULT_LOOP_SIZE, Math.floor((free * 0.6) / 1024 ** 2) * 1024 ** 2);
  if (size < LEAST_LOOP_SIZE || size > free) {
    return {
      refusal: `${formatBytes(free)} are free on the host, ${formatBytes(Math.max(size, LEAST_LOOP_SIZE))} are needed for the loop file`,
      remedy: "Free space, set a smaller size (at least 5 GiB), or give a block device as source.",
    };
  }
  return { size };
}

function isAvailable(status: string): boolean {
  return status === "" || status === "Created";
}

/** Decides what happens to one pool. Pure: same wish and facts, same decision. */
export function decidePool(wish: SettledWish, facts: PoolFacts): PoolDecision {
  if (facts.original && isCopyOnWrite(facts.original.driver)) {
    return {
      action: "use-original",
      driver: facts.original.driver,
      reason: `pool ${wish.insteadOf ?? ""} is copy-on-write already`,
    };
  }
  if (wish.isByProfile && wish.name === WORKER_POOL) {
    return {
      action: "refuse",
      reason: "it is the default profile's, but belongs to the taOS worker and is never touched",
      remedy: "Name the pool to use, or a new one, under pool.name.",
      blockers: [],
    };
  }
  const choice = chooseDriver(wish.driver, facts.usableDrivers);
  const isHalfMade = !facts.pool || (isCopyOnWrite(facts.pool.driver) && !isAvailable(facts.pool.status));
  if (facts.isRecreating && isHalfMade) {
    const driver = "driver" in choice && choice.driver === "zfs" ? "zfs" : "btrfs";
    return { action: "recreate", driver, reason: "its interrupted recreation is finished" };
  }
  if (!facts.pool && facts.hasCowTwin) {
    return {
      action: "refuse",
      reason: `it is not on the host, and pool ${cowName(wish.name)}, which took over from it, is`,
      remedy: `Set pool.name: ${cowName(wish.name)} (and take pool.cow out), or bring the old pool back.`,
      blockers: [],
    };
  }
  if (!facts.pool && facts.namesake !== undefined) {
    return {
      action: "refuse",
      reason: `there is no pool of this name, but one named ${facts.namesake}`,
      remedy: `Names are exact: set pool.name to ${facts.namesake}, or to one that differs by more than case.`,
      blockers: [],
    };
  }
  if (!facts.pool) return decideNew("create", "there is no such pool", wish, facts, choice);
  const { pool } = facts;
  if (!isAvailable(pool.status)) {
    return {
      action: "refuse",
      reason: `pool ${wish.name} is ${pool.status.toLowerCase()} on the host`,
      remedy: "Look at incus warning list and the daemon's log; nothing was changed.",
      blockers: [],
    };
  }
  if (wish.driver === "dir" && pool.driver === "dir")
    return { action: "adopt", driver: "dir", reason: "driver: dir is set" };
  if (pool.driver === "dir") return decideDir(wish, facts, pool.contents, choice);
  if (wish.driver === "auto" ? isCopyOnWrite(pool.driver) : wish.driver === pool.driver) {
    return decideSize(wish, pool, facts.hostFreeBytes);
  }
  if (wish.driver === "auto" && wish.isByProfile) {
    return {
      action: "leave",
      driver: pool.driver,
      reason: "it is the default profile's, and the config names no other",
      remedy: "Name a new pool under pool.name to get a copy-on-write one beside it.",
      blockers: [],
    };
  }
  return {
    action: "refuse",
    reason: `pool ${wish.name} has driver ${pool.driver}, ${wish.driver} is wanted`,
    remedy: `Set driver: ${pool.driver === "btrfs" || pool.driver === "zfs" ? pool.driver : "dir"} or give the pool another name.`,
    blockers: [],
  };
}

function decideSize(
  { name, size }: PoolWish,
  { driver, sizes }: NonNullable<PoolFacts["pool"]>,
  hostFreeBytes: number | null,
): PoolDecision {
  const adopt = { action: "adopt", driver, reason: `it is ${driver} already` } as const;
  if (size === undefined) return adopt;
  const growth = decideGrowth(size, { name, driver, sizes, hostFreeBytes });
  if (growth.action === "keep")
    return growth.remark === undefined ? adopt : { ...adopt, remark: growth.remark };
  return growth.action === "grow"
    ? { action: "grow", driver, size, reason: growth.reason }
    : { ...growth, blockers: [] };
}

function decideDir(
  wish: SettledWish,
  facts: PoolFacts,
  contents: PoolContents,
  choice: ReturnType<typeof chooseDriver>,
): PoolDecision {
  const blockers = poolBlockers(contents);
  if (facts.hasCowTwin) {
    const profiles = contents.profiles.map((name) => `profile ${name}`);
    const remaining = [...blockers, ...profiles];
    return {
      action: "leave",
      driver: "dir",
      reason:
        remaining.length === 0
          ? `pool ${cowName(wish.name)} has taken over`
          : `pool ${cowName(wish.name)} is beside it; still on ${wish.name}:`,
      // Incus would delete files unknown to the database along with the pool.
      remedy:
        remaining.length === 0 && contents.leftovers !== null
          ? `It is empty: incus storage delete ${wish.name} frees its space.`
          : "",
      blockers: remaining,
    };
  }
  // Whatever driver is wished: what is on the pool stays until an opt-in names it, and asking for that is no error.
  const leave = (reason: string, remedy: string): PoolDecision => ({
    action: "leave",
    driver: "dir",
    reason,
    remedy,
    blockers,
  });
  if (blockers.length > 0) {
    return leave(
      "used by",
      contents.instances.length > 0
        ? "Name containers under optIn.migrate to move them to copy-on-write storage."
        : `${emptied(contents)}, and the next run recreates the pool.`,
    );
  }
  if (wish.isByProfile) {
    return leave(
      "it is empty and the default profile's, and the config names no pool",
      `Set pool.name: ${wish.name} to have it made anew as a copy-on-write pool.`,
    );
  }
  if (contents.leftovers === null) {
    return leave(
      "the files in its directory cannot be read over this connection, and recreating it would delete files unknown to the database",
      "Run on the host itself as root (connection: unix), or set driver: dir.",
    );
  }
  return decideNew("recreate", "it is an empty dir pool", wish, facts, choice);
}

/** The way to an empty pool where no container is in the way. */
function emptied({ customVolumes, buckets, daemonVolumes, leftovers }: PoolContents): string {
  if (daemonVolumes.length > 0) return "Move what the daemon settings name to another pool and unset them";
  if (customVolumes.length + buckets.length > 0)
    return "Move volumes and buckets to another pool or delete them";
  return (leftovers ?? []).length > 0
    ? "Look what the files are (incus admin recover finds what a lost database knew) and move them away"
    : "Delete what is left";
}

function decideNew(
  action: "create" | "recreate",
  reason: string,
  wish: PoolWish,
  facts: PoolFacts,
  choice: ReturnType<typeof chooseDriver>,
): PoolDecision {
  if ("refusal" in choice)
    return { action: "refuse", reason: choice.refusal, remedy: choice.remedy, blockers: [] };
  const { driver } = choice;
  const strays = (facts.strays ?? []).filter((path) => action === "create" || path.startsWith("disks/"));
  if (strays.length > 0) {
    return {
      action: "refuse",
      reason: `${strays.join(" and ")} in Incus' directory belongs to no pool, and creating one of that name would destroy it`,
      remedy:
        "Look what it holds (incus admin recover finds the pool of a lost database), then move it away, or give the pool another name.",
      blockers: [],
    };
  }
  if (driver === "dir") {
    return action === "create"
      ? { action, driver, reason }
      : { action: "adopt", driver: "dir", reason: "driver: dir is set" };
  }
  if (facts.unprivileged) {
    return {
      action: "refuse",
      reason: "Incus runs in an unprivileged container here, which cannot mount a file system",
      remedy:
        "Make it a privileged container with nesting (Proxmox: unprivileged: 0, features: nesting=1), or set driver: dir.",
      blockers: [],
    };
  }
  if (wish.source !== "loop") return { action, driver, reason };
  const room = chooseLoopSize(wish.size, facts.hostFreeBytes);
  if ("refusal" in room) return { action: "refuse", reason: room.refusal, remedy: room.remedy, blockers: [] };
  return { action, driver, size: room.size, reason };
}

/** A wish with the pool's real name. */
export type SettledWish<W extends PoolWish = PoolWish> = W & {
  /** The name is the default profile's, not the config's: the pool is used or left, and never made anew. */
  isByProfile?: boolean;
};
