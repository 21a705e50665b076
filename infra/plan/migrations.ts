import {
  formatBytes,
  type HostLook,
  type InstanceLook,
  migrationProblem,
  type Problem,
  qualifiedName,
  spaceNeeded,
} from "@taos-hosts/providers";
import type { ContainerConfig } from "../config/config.ts";
import { certainSpace, migrationCost } from "./cost.ts";
import { type EffectivePool, least } from "./pools.ts";
import type { ContainerPlan, Cost } from "./types.ts";

/** One container that optIn.migrate names. */
export interface Migration {
  look: HostLook;
  container: Pick<ContainerConfig, "pool">;
  name: string;
  instance: InstanceLook;
  /** Its parked copy of an earlier migration goes in the same run. */
  removesParked: boolean;
  /** A migration of it was begun and not finished. */
  interrupted: boolean;
  effective: EffectivePool | undefined;
  /** Bytes left in each target pool after the migrations planned so far. */
  room: Map<string, number | null>;
}

/** Plans one opted-in migration, or says why not. */
export function planMigration(plan: ContainerPlan, migration: Migration): void {
  const { look, container, name, instance, interrupted, removesParked, effective, room } = migration;
  const qualified = qualifiedName({ project: instance.project, name });
  const object = `container ${qualified}`;
  const target = targetPool(look, container.pool, effective);
  if ("reason" in target) {
    plan.refusals.push({ severity: "error", object, container: qualified, ...target });
    return;
  }
  if (instance.root?.pool === target.name && !interrupted) return;
  const there = room.has(target.name) ? (room.get(target.name) ?? null) : target.freeBytes;
  const cost = costTo(target, migrationCost(instance, look, there));
  // What was begun is finished or taken back by the migration itself; the checks before a start are behind it.
  const problem = interrupted
    ? undefined
    : (migrationProblem(look, instance, { target, removesParked }) ?? spaceProblem(cost, target));
  if (problem) {
    plan.refusals.push({ severity: "error", object, container: qualified, ...problem });
    return;
  }
  room.set(target.name, there === null ? null : there - certainSpace(cost));
  plan.moves.set(qualified, target.name);
  plan.actions.push({
    kind: "migrate",
    object,
    container: qualified,
    pool: target.name,
    reason: interrupted
      ? "its interrupted migration is finished or taken back"
      : `moves from pool ${instance.root?.pool ?? ""} to ${target.name}; the source is kept, parked`,
    cost,
  });
}

/** Where a container is to go. A pool that its entry names may be dir, too: that is the way back. */
type Target = Pick<EffectivePool, "name" | "driver" | "freeBytes">;

/** On a pool without shared blocks everything takes its own space, snapshots too. */
function costTo({ driver }: Target, cost: Cost): Cost {
  return driver === "dir" ? { ...cost, spaceNeeded: cost.bytes, sharesImage: false } : cost;
}

function targetPool(
  look: HostLook,
  named: string | undefined,
  effective: EffectivePool | undefined,
): Target | { reason: string; remedy: string } {
  if (named === undefined || named === effective?.name) {
    return (
      effective ?? { reason: "there is no pool to move it to", remedy: "See what is said of the pool above." }
    );
  }
  const pool = look.pools.find(({ name }) => name === named);
  if (!pool) {
    const remedy = "Name a pool of the host under pool, or leave it out.";
    return { reason: `pool ${named} is not on the host`, remedy };
  }
  const freeBytes = pool.sizes.loop
    ? least(pool.freeBytes, pool.loopFreeBytes ?? look.hostFreeBytes)
    : pool.freeBytes;
  return { name: pool.name, driver: pool.driver, freeBytes };
}

function spaceProblem(cost: Cost, target: Target): Problem | undefined {
  const needed = spaceNeeded(certainSpace(cost));
  if (cost.spaceThere === null || needed <= cost.spaceThere) return undefined;
  return {
    reason: `it needs ${formatBytes(needed)}, ${formatBytes(Math.max(0, cost.spaceThere))} are free for pool ${target.name}`,
    remedy: "Set a larger pool.size, free space, or migrate fewer containers.",
  };
}
