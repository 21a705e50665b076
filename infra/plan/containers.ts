import {
  formatBytes,
  type HostLook,
  type InstanceLook,
  isCopyOnWrite,
  nearestNames,
  qualifiedName,
} from "@taos-hosts/providers";
import type { ContainerConfig, HostConfig } from "../config.ts";
import { migrationCost } from "./cost.ts";
import { migrationOf, parkedOf } from "./parked.ts";
import { type EffectivePool, least } from "./pools.ts";
import { WORKER_POOL } from "./remarks.ts";
import { type Cost, type Findings, noFindings, type Refusal } from "./types.ts";

/** What happens to the containers that the config lists. */
export interface ContainerPlan extends Findings {
  /** Pool of each container that moves, by qualified name. */
  moves: Map<string, string>;
  /** Qualified names of containers that get a local root disk. */
  pinned: Set<string>;
}

/** Containers listed under `containers`: found, and migrated, pinned or left. Nothing is done to any other. */
export function planContainers(
  host: HostConfig,
  look: HostLook,
  effective: EffectivePool | undefined,
): ContainerPlan {
  const plan: ContainerPlan = { ...noFindings(), moves: new Map(), pinned: new Set() };
  const room = new Map<string, number | null>();
  for (const [name, container] of Object.entries(host.containers)) {
    const interrupted = interruptedOf(look, container.project, name);
    // During the swap of an interrupted migration nobody may have the name; what has its journal stands for it.
    const instance = findInstance(look, container.project, name) ?? interrupted;
    if (!instance) {
      plan.refusals.push(notFound(look, container.project, name));
      continue;
    }
    const wanted = host.optIn.migrate.includes(name) || host.optIn.pinRoot.includes(name);
    if (wanted && instance.root?.pool === WORKER_POOL) {
      plan.refusals.push(onWorkerPool(qualifiedName({ ...instance, name })));
      continue;
    }
    if (host.optIn.migrate.includes(name)) {
      planMigration(plan, {
        look,
        container,
        name,
        instance,
        interrupted: interrupted !== undefined,
        effective,
        room,
      });
    } else if (interrupted) {
      plan.refusals.push({
        severity: "held",
        object: `container ${qualifiedName({ ...instance, name })}`,
        container: qualifiedName({ ...instance, name }),
        reason: "its migration was interrupted",
        remedy: `Name ${name} under optIn.migrate again: the next run finishes it or takes it back.`,
      });
    }
    const moves = plan.moves.has(qualifiedName(instance));
    if (host.optIn.pinRoot.includes(name) && !moves && instance.root?.profile) {
      plan.pinned.add(qualifiedName(instance));
      plan.actions.push({
        kind: "pin-root",
        object: `container ${qualifiedName(instance)}`,
        container: qualifiedName(instance),
        pool: instance.root.pool,
        reason: `gets a root disk of its own on pool ${instance.root.pool}, now from profile ${instance.root.profile}; no stop, no data`,
      });
    }
  }
  return plan;
}

export function findInstance(look: HostLook, project: string, name: string): InstanceLook | undefined {
  return look.instances.find((one) => one.name === name && one.project === project);
}

/** An instance with the journal of this container's migration, where one is under way. */
function interruptedOf(look: HostLook, project: string, name: string): InstanceLook | undefined {
  return look.instances.find((one) => one.project === project && migrationOf(one) === name);
}

function onWorkerPool(container: string): Refusal {
  return {
    severity: "error",
    object: `container ${container}`,
    container,
    reason: `it is on pool ${WORKER_POOL}, which belongs to the taOS worker and is never touched`,
    remedy: "Take it out of optIn.migrate and optIn.pinRoot.",
  };
}

function notFound(look: HostLook, project: string, name: string): Refusal {
  const object = `container ${qualifiedName({ project, name })}`;
  const elsewhere = look.instances.filter((one) => one.name === name).map((one) => one.project);
  if (elsewhere.length > 0) {
    return {
      severity: "error",
      object,
      reason: `it is not in project ${project} but in ${elsewhere.join(", ")}`,
      remedy: `Set project: ${elsewhere[0]} on it.`,
    };
  }
  const near = nearestNames(
    name,
    look.instances.filter((one) => parkedOf(one) === null).map((one) => one.name),
  );
  const hint = near.length > 0 ? `Nearest on the host: ${near.join(", ")} (names are exact). ` : "";
  return {
    severity: "error",
    object,
    reason: "there is no container of this name on the host",
    remedy: `${hint}Correct the name under containers, or remove it.`,
  };
}

interface Migration {
  look: HostLook;
  container: ContainerConfig;
  name: string;
  instance: InstanceLook;
  /** A migration of it was begun and not finished. */
  interrupted: boolean;
  effective: EffectivePool | undefined;
  /** Bytes left in each target pool after the migrations planned so far. */
  room: Map<string, number | null>;
}

function planMigration(plan: ContainerPlan, migration: Migration): void {
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
  const cost = migrationCost(instance, there);
  // What was begun is finished or taken back by the migration itself; the checks before a start are behind it.
  const problem = interrupted ? undefined : migrationProblem(instance, look, cost, target.name);
  if (problem) {
    plan.refusals.push({ severity: "error", object, container: qualified, ...problem });
    return;
  }
  room.set(target.name, there === null || cost.spaceNeeded === null ? there : there - cost.spaceNeeded);
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

function targetPool(
  look: HostLook,
  named: string | undefined,
  effective: EffectivePool | undefined,
): { name: string; freeBytes: number | null } | { reason: string; remedy: string } {
  if (named === undefined || named === effective?.name) {
    return (
      effective ?? { reason: "there is no pool to move it to", remedy: "See what is said of the pool above." }
    );
  }
  const pool = look.pools.find(({ name }) => name === named);
  const remedy = "Name a btrfs or zfs pool of the host under pool, or leave it out.";
  if (!pool) return { reason: `pool ${named} is not on the host`, remedy };
  if (!isCopyOnWrite(pool.driver))
    return { reason: `pool ${named} is ${pool.driver}, not copy-on-write`, remedy };
  const freeBytes = pool.sizeBytes === null ? pool.freeBytes : least(pool.freeBytes, look.hostFreeBytes);
  return { name: pool.name, freeBytes };
}

function migrationProblem(
  instance: InstanceLook,
  look: HostLook,
  cost: Cost,
  target: string,
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
      reason: `it holds ${formatBytes(instance.bytes)}, more than its root disk's size ${formatBytes(root.sizeBytes)}, which ${target} enforces`,
      remedy: `Raise the size (incus config device set ${name} root size=…) or delete files, then run again.`,
    };
  }
  if (cost.spaceNeeded !== null && cost.spaceThere !== null && cost.spaceNeeded > cost.spaceThere) {
    return {
      reason: `it needs ${formatBytes(cost.spaceNeeded)}, ${formatBytes(Math.max(0, cost.spaceThere))} are free for pool ${target}`,
      remedy: "Set a larger pool.size, free space, or migrate fewer containers.",
    };
  }
  return undefined;
}

/** Parked copies that `optIn.removeParked` names; each is deleted only while what it was the source of is there. */
export function planParked(host: HostConfig, look: HostLook): Findings {
  const findings = noFindings();
  for (const name of host.optIn.removeParked) {
    const project = host.containers[name]?.project ?? host.agents[name]?.project ?? host.project;
    for (const instance of look.instances) {
      if (instance.project !== project || parkedOf(instance) !== name) continue;
      const container = qualifiedName(instance);
      const object = `container ${container}`;
      const problem = removalProblem(look, project, name, instance);
      if (problem) findings.refusals.push({ severity: "error", object, container, ...problem });
      else {
        const reason = `parked copy of ${name}, named under optIn.removeParked`;
        findings.actions.push({ kind: "remove-parked", object, container, reason });
      }
    }
  }
  return findings;
}

function removalProblem(
  look: HostLook,
  project: string,
  name: string,
  parked: InstanceLook,
): { reason: string; remedy: string } | undefined {
  if (!findInstance(look, project, name)) {
    return {
      reason: `there is no container ${name}, so this is the only copy`,
      remedy: `Rename it back (incus rename), or take ${name} out of optIn.removeParked.`,
    };
  }
  if (interruptedOf(look, project, name)) {
    return {
      reason: `the migration of ${name} has not ended`,
      remedy: `Name ${name} under optIn.migrate and run again.`,
    };
  }
  if (parked.status !== "Stopped") {
    return { reason: "it runs", remedy: "Stop it first if it is really no longer needed." };
  }
  return undefined;
}

/** Custom volumes do not move with a container; this says which keep it on the old pool. */
export function volumeRemarks(look: HostLook, moves: ReadonlyMap<string, string>): string[] {
  const remarks: string[] = [];
  for (const instance of look.instances) {
    const target = moves.get(qualifiedName(instance));
    if (target === undefined) continue;
    const volumes = Object.values(instance.devices)
      .filter(
        ({ type, keys }) =>
          type === "disk" && keys["pool"] !== undefined && keys["path"] !== "/" && keys["pool"] !== target,
      )
      .map(({ keys }) => `${keys["pool"]}/${keys["source"] ?? ""}`);
    if (volumes.length > 0) {
      remarks.push(`custom volumes of ${qualifiedName(instance)} stay where they are: ${volumes.join(", ")}`);
    }
  }
  return remarks;
}
