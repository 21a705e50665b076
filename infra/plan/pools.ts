import {
  cowName,
  decidePool,
  formatBytes,
  type HostLook,
  isCopyOnWrite,
  isOfSameStack,
  type PoolDecision,
  type PoolLook,
  type PoolWish,
  poolFactsOf,
  poolWorldOf,
  qualifiedName,
  realSize,
  reasonOf,
  type SettledWish,
  settleWish,
} from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";
import { parkedOf } from "./parked.ts";
import { poolWishes } from "./pool-wishes.ts";
import { type Findings, type Mode, noFindings } from "./types.ts";

/** The pool that images, agents and migrated containers use once the plan is done. Sizes in bytes. */
export interface EffectivePool {
  name: string;
  driver: string;
  sizeBytes: number | null;
  /** Free for new data: in the pool and, under a loop file, on the host. */
  freeBytes: number | null;
  /** Fingerprints unpacked in it. */
  warm: string[];
}

export interface PoolPlan extends Findings {
  /** Name of the pool that the config means. */
  name: string;
  main: PoolDecision;
  cow: PoolDecision | null;
  /** Names of the pools that the config means: the main one and, where there is one, the second. */
  wanted: string[];
  /** Undefined where a refusal leaves none. */
  effective: EffectivePool | undefined;
  mode: Mode;
}

/** @param owner an ownership mark of this stack and host */
export function planPools(host: HostConfig, look: HostLook, owner: string): PoolPlan {
  const settle = (wish: PoolWish): SettledWish => settleWish(wish, poolWorldOf(look), owner);
  const twin = twinOf(settle(poolWishes(host, false).main).name, look);
  const hasTwin = twin?.owner != null && isOfSameStack(twin.owner, owner);
  const unsettled = poolWishes(host, hasTwin);
  const wishes = { main: settle(unsettled.main), ...(unsettled.cow ? { cow: settle(unsettled.cow) } : {}) };
  const main = decidePool(wishes.main, poolFactsOf(look, wishes.main));
  const cow = wishes.cow
    ? decidePool(wishes.cow, { ...poolFactsOf(look, wishes.cow), ...originalAfter(main) })
    : null;
  const findings = noFindings();
  addFindings(findings, wishes.main, main);
  if (twin && !wishes.cow && host.pool.cow === undefined)
    addWayBack(findings, host, look, wishes.main.name, twin);
  let effective = effectivePool(wishes.main, main, look);
  if (wishes.cow && cow) {
    addFindings(findings, wishes.cow, cow);
    if (cow.action !== "use-original") effective = effectivePool(wishes.cow, cow, look);
  }
  const { name } = wishes.main;
  const wanted = [name, ...(wishes.cow ? [wishes.cow.name] : [])];
  return { ...findings, name, main, cow, wanted, effective, mode: modeOf(effective, look, name) };
}

/** The copy-on-write pool beside a `dir` pool. */
function twinOf(name: string, look: HostLook): PoolLook | undefined {
  const isDir = look.pools.some((pool) => pool.name === name && !isCopyOnWrite(pool.driver));
  return isDir
    ? look.pools.find((pool) => pool.name === cowName(name) && isCopyOnWrite(pool.driver))
    : undefined;
}

/**
 * Refuses a config with which agents would silently be made on the `dir` pool again, beside containers of this config
 * that are on the second one.
 */
function addWayBack(
  findings: Findings,
  host: HostConfig,
  look: HostLook,
  main: string,
  twin: PoolLook,
): void {
  const there = look.instances
    .filter((one) => one.root?.pool === twin.name && parkedOf(one) === null)
    .filter(({ name, project }) => (host.containers[name] ?? host.agents[name])?.project === project)
    .map(qualifiedName);
  if (there.length === 0) return;
  findings.refusals.push({
    severity: "error",
    object: `pool ${twin.name}`,
    reason: `${there.join(", ")} are on it and this stack did not make it, so new agents would go to pool ${main} (dir) again`,
    remedy: `Add "cow: true" under pool to go on with ${twin.name}, or "cow: false" to go back to ${main} for good.`,
  });
}

/** A named pool that this very plan makes copy-on-write needs no second one. */
function originalAfter(main: PoolDecision): { original?: { driver: string } } {
  return main.action === "create" || main.action === "recreate" ? { original: { driver: main.driver } } : {};
}

function addFindings(findings: Findings, wish: PoolWish, decision: PoolDecision): void {
  const object = `pool ${wish.name}`;
  switch (decision.action) {
    case "create":
    case "recreate":
    case "grow": {
      const size = "size" in decision && decision.size !== undefined ? `, ${formatBytes(decision.size)}` : "";
      const kind =
        decision.action === "create"
          ? "create-pool"
          : decision.action === "grow"
            ? "grow-pool"
            : "recreate-pool";
      findings.actions.push({ kind, object, reason: `${decision.driver}${size}: ${decision.reason}` });
      return;
    }
    case "refuse":
      findings.refusals.push({
        severity: "error",
        object,
        reason: reasonOf(decision, NAMED_BLOCKERS),
        remedy: decision.remedy,
      });
      return;
    case "leave":
      findings.remarks.push(
        `${object} stays ${decision.driver}: ${reasonOf(decision, NAMED_BLOCKERS)}. ${decision.remedy}`.trimEnd(),
      );
      return;
    case "adopt":
      if (decision.remark !== undefined) findings.remarks.push(decision.remark);
      return;
    case "use-original":
      return;
  }
}

/** Names of what is in the way that a sentence holds. */
const NAMED_BLOCKERS = 6;

function effectivePool(wish: PoolWish, decision: PoolDecision, look: HostLook): EffectivePool | undefined {
  if (decision.action === "refuse") return undefined;
  const loop = wish.source === "loop" && decision.driver !== "dir";
  if (decision.action === "create" || decision.action === "recreate") {
    const sizeBytes = decision.size ?? null;
    const freeBytes = loop
      ? least(sizeBytes, look.hostFreeBytes)
      : decision.driver === "dir"
        ? look.hostFreeBytes
        : null;
    return { name: wish.name, driver: decision.driver, sizeBytes, freeBytes, warm: [] };
  }
  const pool = look.pools.find(({ name }) => name === wish.name);
  if (!pool) return undefined;
  const grown = decision.action === "grow" ? decision.size - (realSize(pool.sizes) ?? decision.size) : 0;
  const free = pool.freeBytes === null ? null : pool.freeBytes + grown;
  return {
    name: pool.name,
    driver: pool.driver,
    sizeBytes: decision.action === "grow" ? decision.size : realSize(pool.sizes),
    freeBytes: pool.sizes.loop ? least(free, pool.loopFreeBytes ?? look.hostFreeBytes) : free,
    warm: pool.warm,
  };
}

/** The smaller of two sizes; an unknown one does not count. */
export function least(a: number | null, b: number | null): number | null {
  if (a === null) return b;
  return b === null ? a : Math.min(a, b);
}

function modeOf(effective: EffectivePool | undefined, look: HostLook, name: string): Mode {
  if (effective) {
    const { driver } = effective;
    return isCopyOnWrite(driver) ? (driver as "btrfs" | "zfs") : driver === "dir" ? "dir" : "existing";
  }
  return look.pools.some((pool) => pool.name === name) ? "existing" : "none";
}
