import {
  formatBytes,
  type HostLook,
  type InstanceLook,
  migrationRefusal,
  mountsRefusal,
  qualifiedName,
} from "@taos-hosts/providers";
import type { ContainerConfig } from "../config/config.ts";
import { certainSpace, migrationCost } from "./cost.ts";
import { parkedOf } from "./parked.ts";
import { type EffectivePool, least } from "./pools.ts";
import { startConflict } from "./start-conflict.ts";
import type { ContainerPlan, Cost } from "./types.ts";

/** One container that optIn.migrate names. */
export interface Migration {
  look: HostLook;
  container: Pick<ContainerConfig, "pool">;
  name: string;
  instance: InstanceLook;
  /** A migration of it was begun and not finished. */
  interrupted: boolean;
  effective: EffectivePool | undefined;
  /** Bytes left in each target pool after the migrations planned so far. */
  room: Map<string, number | null>;
}

/** Plans one opted-in migration, or says why not. */
export function planMigration(plan: ContainerPlan, migration: Migration): void {
  const { look, container, name, instance, interrupted, effective, room } = migration;
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
  const problem = interrupted ? undefined : migrationProblem(instance, look, cost, target);
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

/** Drivers whose volumes are directories, so that source and copy can be compared file by file. */
const COMPARABLE = ["btrfs", "dir"];

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

function migrationProblem(
  instance: InstanceLook,
  look: HostLook,
  cost: Cost,
  target: Target,
): { reason: string; remedy: string } | undefined {
  const { name, root } = instance;
  if (parkedOf(instance) !== null) {
    return { reason: "it is the parked copy of another container", remedy: "Take it out of optIn.migrate." };
  }
  if (instance.type !== "container") {
    return {
      reason: "it is a virtual machine",
      remedy: "Only containers are migrated: take it out of optIn.migrate.",
    };
  }
  if (instance.ephemeral) {
    return {
      reason: "it is ephemeral, stopping deletes it",
      remedy: "Make it permanent (incus config edit), then run again.",
    };
  }
  const drivers = [target.driver, look.pools.find((pool) => pool.name === root?.pool)?.driver ?? ""];
  const other = drivers.find((driver) => !COMPARABLE.includes(driver));
  if (root && other !== undefined) {
    return {
      reason: `driver ${other} keeps volumes whose files cannot be compared one by one`,
      remedy:
        "Only moves between dir and btrfs pools are verified, so only they are made: take it out of optIn.migrate.",
    };
  }
  if (!look.filesReadable) {
    return {
      reason: "the host's files cannot be read over this connection, and Incus' own copy breaks hardlinks",
      remedy: "Run on the host itself as root, with connection: unix.",
    };
  }
  const project = look.projects.find((one) => one.name === instance.project);
  const rules = { forbidsLowLevel: project?.forbidsLowLevel ?? false, limits: project?.limits ?? {} };
  const forbidden = migrationRefusal(instance.project, rules, { ...instance.limits, disk: root?.sizeBytes });
  if (forbidden) return forbidden;
  const conflict = startConflict(look, instance);
  if (conflict) return conflict;
  if (instance.mounts) return mountsRefusal(instance.mounts);
  if (instance.status !== "Running" && instance.status !== "Stopped") {
    return {
      reason: `it is neither running nor stopped but ${instance.status}`,
      remedy: "Start or stop it, then run again.",
    };
  }
  if (!root)
    return {
      reason: "it has no root disk",
      remedy: "Give it one (incus config device add), then run again.",
    };
  if (instance.backups > 0) {
    return {
      reason: `it has ${instance.backups} server-side backups, which a move would lose`,
      remedy: `Export them (incus export) and delete them, then run again.`,
    };
  }
  if (look.pools.some((pool) => pool.name === root.pool && pool.status !== "Created" && pool.status !== "")) {
    return {
      reason: `its pool ${root.pool} is not available`,
      remedy: "See incus warning list on the host; once it is back, run again.",
    };
  }
  if (root.sizeBytes !== null && instance.bytes !== null && instance.bytes > root.sizeBytes) {
    return {
      reason: `it holds ${formatBytes(instance.bytes)}, more than its root disk's size ${formatBytes(root.sizeBytes)}, which ${target.name} enforces`,
      remedy: `Raise the size (incus config device set ${name} root size=…) or delete files, then run again.`,
    };
  }
  if (cost.spaceThere !== null && certainSpace(cost) > cost.spaceThere) {
    return {
      reason: `it needs ${formatBytes(certainSpace(cost))}, ${formatBytes(Math.max(0, cost.spaceThere))} are free for pool ${target.name}`,
      remedy: "Set a larger pool.size, free space, or migrate fewer containers.",
    };
  }
  return undefined;
}
