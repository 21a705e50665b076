import { listed } from "../common/listed.ts";
import { cowName, WORKER_POOL } from "../common/names.ts";
import type { Problem } from "../common/problem.ts";
import { type PoolContents, poolBlockers, poolHolds } from "./contents.ts";
import { chooseDriver, isCopyOnWrite } from "./drivers.ts";
import type { PoolFacts } from "./facts.ts";
import { decideGrowth } from "./growth.ts";
import { chooseLoopSize } from "./loop-size.ts";
import type { PoolWish, SettledWish } from "./wish.ts";

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
  | ({ action: "refuse" } & Problem);

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

/** Decides what happens to one pool. Pure: same wish and facts, same decision. */
export function decidePool(wish: SettledWish, facts: PoolFacts): PoolDecision {
  const { pool, original } = facts;
  if (original && isCopyOnWrite(original.driver)) {
    const reason = `pool ${wish.insteadOf ?? ""} is copy-on-write already`;
    return { action: "use-original", driver: original.driver, reason };
  }
  if (wish.isByProfile && wish.name === WORKER_POOL) {
    return {
      action: "refuse",
      reason: "it is the default profile's, but belongs to the taOS worker and is never touched",
      remedy: "Name the pool to use, or a new one, under pool.name.",
    };
  }
  const choice = chooseDriver(wish.driver, facts.usableDrivers);
  const isHalfMade = !pool || (isCopyOnWrite(pool.driver) && !isAvailable(pool.status));
  if (facts.isRecreating && isHalfMade) {
    const driver = "driver" in choice && choice.driver === "zfs" ? "zfs" : "btrfs";
    return { action: "recreate", driver, reason: "its interrupted recreation is finished" };
  }
  return pool ? decideExisting(wish, facts, pool, choice) : decideMissing(wish, facts, choice);
}

type Choice = ReturnType<typeof chooseDriver>;
type ExistingPool = NonNullable<PoolFacts["pool"]>;

function isAvailable(status: string): boolean {
  return status === "" || status === "Created";
}

function decideMissing(wish: PoolWish, facts: PoolFacts, choice: Choice): PoolDecision {
  if (facts.hasCowTwin) {
    return {
      action: "refuse",
      reason: `it is not on the host, and pool ${cowName(wish.name)}, which took over from it, is`,
      remedy: `Set pool.name: ${cowName(wish.name)} (and take pool.cow out), or bring the old pool back.`,
    };
  }
  if (facts.namesake !== undefined) {
    return {
      action: "refuse",
      reason: `there is no pool of this name, but one named ${facts.namesake}`,
      remedy: `Names are exact: set pool.name to ${facts.namesake}, or to one that differs by more than case.`,
    };
  }
  return decideNew("create", "there is no such pool", wish, facts, choice);
}

function decideExisting(
  wish: SettledWish,
  facts: PoolFacts,
  pool: ExistingPool,
  choice: Choice,
): PoolDecision {
  if (!isAvailable(pool.status)) {
    return {
      action: "refuse",
      reason: `pool ${wish.name} is ${pool.status.toLowerCase()} on the host`,
      remedy: "Look at incus warning list and the daemon's log; nothing was changed.",
    };
  }
  if (pool.driver === "dir") {
    return wish.driver === "dir" ? KEPT_DIR : decideDir(wish, facts, pool.contents, choice);
  }
  if (wish.driver === "auto" ? isCopyOnWrite(pool.driver) : wish.driver === pool.driver)
    return decideSize(wish, pool, facts.hostFreeBytes);
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
    remedy: `Set driver: ${isCopyOnWrite(pool.driver) ? pool.driver : "dir"} or give the pool another name.`,
  };
}

const KEPT_DIR: PoolDecision = { action: "adopt", driver: "dir", reason: "driver: dir is set" };

function decideSize(
  { name, size }: PoolWish,
  { driver, sizes }: ExistingPool,
  hostFreeBytes: number | null,
): PoolDecision {
  const adopt = { action: "adopt", driver, reason: `it is ${driver} already` } as const;
  if (size === undefined) return adopt;
  const growth = decideGrowth(size, { name, driver, sizes, hostFreeBytes });
  if (growth.action === "grow") return { action: "grow", driver, size, reason: growth.reason };
  if (growth.action === "refuse") return growth;
  return growth.remark === undefined ? adopt : { ...adopt, remark: growth.remark };
}

function decideDir(
  { name, isByProfile, ...wish }: SettledWish,
  facts: PoolFacts,
  contents: PoolContents,
  choice: Choice,
): PoolDecision {
  // Whatever driver is wished: what is on the pool stays until an opt-in names it, and asking for that is no error.
  const leave = (reason: string, remedy: string, blockers: string[] = []): PoolDecision => ({
    action: "leave",
    driver: "dir",
    reason,
    remedy,
    blockers,
  });
  if (facts.hasCowTwin) {
    const remaining = poolHolds(contents);
    if (remaining.length > 0)
      return leave(`pool ${cowName(name)} is beside it; still on ${name}:`, "", remaining);
    // Incus would delete files unknown to the database along with the pool.
    const isEmpty = contents.leftovers !== null;
    const remedy = isEmpty ? `It is empty: incus storage delete ${name} frees its space.` : "";
    return leave(`pool ${cowName(name)} has taken over`, remedy);
  }
  const blockers = poolBlockers(contents);
  if (blockers.length > 0) return leave("used by", wayToEmpty(contents), blockers);
  if (isByProfile) {
    return leave(
      "it is empty and the default profile's, and the config names no pool",
      `Set pool.name: ${name} to have it made anew as a copy-on-write pool.`,
    );
  }
  if (contents.leftovers === null) {
    return leave(
      "the files in its directory cannot be read over this connection, and recreating it would delete files unknown to the database",
      "Run on the host itself as root (connection: unix), or set driver: dir.",
    );
  }
  return decideNew("recreate", "it is an empty dir pool", { name, ...wish }, facts, choice);
}

/** What a person can do for a pool that holds something. */
function wayToEmpty(contents: PoolContents): string {
  const { instances, customVolumes, buckets, daemonVolumes, leftovers } = contents;
  if (instances.length > 0)
    return "Name containers under optIn.migrate to move them to copy-on-write storage.";
  const way =
    daemonVolumes.length > 0
      ? "Move what the daemon settings name to another pool and unset them"
      : customVolumes.length + buckets.length > 0
        ? "Move volumes and buckets to another pool or delete them"
        : leftovers?.length
          ? "Look what the files are (incus admin recover finds what a lost database knew) and move them away"
          : "Delete what is left";
  return `${way}, and the next run recreates the pool.`;
}

function decideNew(
  action: "create" | "recreate",
  reason: string,
  wish: PoolWish,
  facts: PoolFacts,
  choice: Choice,
): PoolDecision {
  if ("reason" in choice) return { action: "refuse", ...choice };
  const { driver } = choice;
  const strays = (facts.strays ?? []).filter((path) => action === "create" || path.startsWith("disks/"));
  if (strays.length > 0) {
    return {
      action: "refuse",
      reason: `${strays.join(" and ")} in Incus' directory belongs to no pool, and creating one of that name would destroy it`,
      remedy:
        "Look what it holds (incus admin recover finds the pool of a lost database), then move it away, or give the pool another name.",
    };
  }
  if (driver === "dir") return action === "create" ? { action, driver, reason } : KEPT_DIR;
  if (facts.unprivileged) {
    return {
      action: "refuse",
      reason: "Incus runs in an unprivileged container here, which cannot mount a file system",
      remedy:
        "Make it a privileged container with nesting (Proxmox: unprivileged: 0, features: nesting=1), or set driver: dir.",
    };
  }
  if (wish.source !== "loop") return { action, driver, reason };
  const room = chooseLoopSize(wish.size, facts.hostFreeBytes);
  return "reason" in room ? { action: "refuse", ...room } : { action, driver, size: room.size, reason };
}
