import {
  formatBytes,
  type HostLook,
  migrationProblem,
  type Problem,
  spaceNeeded,
} from "@taos-hosts/providers";
import { certainSpace, migrationCost } from "./cost.ts";
import { type EffectivePool, freeIn } from "./effective-pool.ts";
import { containerOf } from "./findings.ts";
import { findPool, type Present, type Scene } from "./scene.ts";
import type { ContainerPlan, Cost } from "./types.ts";

/** Plans one opted-in migration, or says why not. */
export function planMigration(
  { host, look, findings }: Scene,
  { moves, room }: ContainerPlan,
  { name, entry, instance, interrupted }: Present,
  effective: EffectivePool | undefined,
): void {
  const subject = containerOf({ project: instance.project, name });
  const target = targetPool(look, entry.pool, effective);
  if ("reason" in target) {
    findings.refuse(subject, target);
    return;
  }
  if (instance.root?.pool === target.name && !interrupted) return;
  const there = room.get(target.name) ?? (room.has(target.name) ? null : target.freeBytes);
  const cost = costTo(target, migrationCost(instance, look, there));
  const removesParked = host.optIn.removeParked.includes(name);
  // What was begun is finished or taken back by the migration itself; the checks before a start are behind it.
  const problem = interrupted
    ? undefined
    : (migrationProblem(look, instance, { target, removesParked }) ?? spaceProblem(cost, target));
  if (problem) {
    findings.refuse(subject, problem);
    return;
  }
  room.set(target.name, there === null ? null : there - certainSpace(cost));
  moves.set(subject.container, target.name);
  const reason = interrupted
    ? "its interrupted migration is finished or taken back"
    : `moves from pool ${instance.root?.pool ?? ""} to ${target.name}; the source is kept, parked`;
  findings.act("migrate", subject, reason, { pool: target.name, cost });
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
): Target | Problem {
  if (named === undefined || named === effective?.name) {
    return (
      effective ?? { reason: "there is no pool to move it to", remedy: "See what is said of the pool above." }
    );
  }
  const pool = findPool(look, named);
  if (pool) return { name: pool.name, driver: pool.driver, freeBytes: freeIn(pool, look) };
  const remedy = "Name a pool of the host under pool, or leave it out.";
  return { reason: `pool ${named} is not on the host`, remedy };
}

function spaceProblem(cost: Cost, target: Target): Problem | undefined {
  const needed = spaceNeeded(certainSpace(cost));
  if (cost.spaceThere === null || needed <= cost.spaceThere) return undefined;
  return {
    reason: `it needs ${formatBytes(needed)}, ${formatBytes(Math.max(0, cost.spaceThere))} are free for pool ${target.name}`,
    remedy: "Set a larger pool.size, free space, or migrate fewer containers.",
  };
}
