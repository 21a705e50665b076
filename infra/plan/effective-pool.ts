import {
  type HostLook,
  isCopyOnWrite,
  type PoolDecision,
  type PoolLook,
  type PoolWish,
  realSize,
} from "@taos-hosts/providers";
import { findPool } from "./scene.ts";
import type { Mode } from "./types.ts";

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

/** What a pool is after a decision about it; undefined where a refusal leaves none. */
export function effectivePool(
  { name, source }: PoolWish,
  decision: PoolDecision,
  look: HostLook,
): EffectivePool | undefined {
  if (decision.action === "refuse") return undefined;
  if (decision.action === "create" || decision.action === "recreate") {
    const { driver, size: sizeBytes = null } = decision;
    const freeBytes =
      driver === "dir" ? look.hostFreeBytes : source === "loop" ? least(sizeBytes, look.hostFreeBytes) : null;
    return { name, driver, sizeBytes, freeBytes, warm: [] };
  }
  const pool = findPool(look, name);
  if (!pool) return undefined;
  const { driver, warm } = pool;
  const real = realSize(pool.sizes);
  const sizeBytes = decision.action === "grow" ? decision.size : real;
  const grown = decision.action === "grow" ? decision.size - (real ?? decision.size) : 0;
  return { name, driver, sizeBytes, freeBytes: freeIn(pool, look, grown), warm };
}

/** Bytes free for new data in a pool that is there. @param grown bytes by which it will have grown */
export function freeIn(pool: PoolLook, look: HostLook, grown = 0): number | null {
  const free = pool.freeBytes === null ? null : pool.freeBytes + grown;
  return pool.sizes.loop ? least(free, pool.loopFreeBytes ?? look.hostFreeBytes) : free;
}

/** The smaller of two sizes; an unknown one does not count. */
function least(a: number | null, b: number | null): number | null {
  if (a === null) return b;
  return b === null ? a : Math.min(a, b);
}

/** @param name of the pool that the config means */
export function modeOf(effective: EffectivePool | undefined, look: HostLook, name: string): Mode {
  if (!effective) return findPool(look, name) ? "existing" : "none";
  const { driver } = effective;
  return isCopyOnWrite(driver) || driver === "dir" ? (driver as Mode) : "existing";
}
