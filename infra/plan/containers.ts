import {
  type HostLook,
  type InstanceLook,
  nearestNames,
  OWNER_KEY,
  qualifiedName,
  STAGE_KEY,
  WORKER_POOL,
} from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";
import { findInstance, interruptedOf } from "./lookup.ts";
import { planMigration } from "./migrations.ts";
import { parkedOf } from "./parked.ts";
import type { EffectivePool } from "./pools.ts";
import { type ContainerPlan, noFindings, type Refusal } from "./types.ts";
import { planUndo } from "./undo.ts";

/** Containers listed under `containers`, and agents that are there: found, and migrated, pinned or left. Nothing is done to any other. */
export function planContainers(
  host: HostConfig,
  look: HostLook,
  effective: EffectivePool | undefined,
  missingProjects: ReadonlySet<string>,
  owner: (name: string) => string,
): ContainerPlan {
  const plan: ContainerPlan = { ...noFindings(), moves: new Map(), pinned: new Set() };
  const room = new Map<string, number | null>();
  for (const [name, container] of [...Object.entries(host.containers), ...Object.entries(host.agents)]) {
    const interrupted = interruptedOf(look, container.project, name);
    // During the swap of an interrupted migration nobody may have the name; what has its journal stands for it.
    const instance = findInstance(look, container.project, name) ?? interrupted;
    if (!instance && missingProjects.has(container.project)) continue;
    // An agent that is not there, or not finished, is the matter of `planAgents`.
    if (host.agents[name] && (!instance || !isMade(instance, interrupted, owner(name)))) continue;
    if (!instance) {
      plan.refusals.push(notFound(look, container.project, name));
      continue;
    }
    const { migrate, pinRoot, undo } = host.optIn;
    const wanted = [migrate, pinRoot, undo].some((names) => names.includes(name));
    if (wanted && instance.root?.pool === WORKER_POOL) {
      plan.refusals.push(onWorkerPool(qualifiedName({ ...instance, name })));
      continue;
    }
    if (host.optIn.undo.includes(name)) {
      planUndo(plan, look, instance, name, interrupted !== undefined);
    } else if (host.optIn.migrate.includes(name)) {
      planMigration(plan, {
        look,
        container,
        name,
        instance,
        interrupted: interrupted !== undefined,
        removesParked: host.optIn.removeParked.includes(name),
        effective,
        room,
      });
    } else if (interrupted) {
      // Begun under an opt-in that is gone by now; the provider does not leave it half-way.
      plan.actions.push({
        kind: "conclude-migration",
        object: `container ${qualifiedName({ ...instance, name })}`,
        container: qualifiedName({ ...instance, name }),
        reason: "its interrupted migration is taken back, or finished where the swap had begun",
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

/** An agent that this stack has made, or one of its instances in the middle of a swap. */
function isMade(instance: InstanceLook, interrupted: InstanceLook | undefined, owner: string): boolean {
  const isOurs = [instance, interrupted].some((one) => one?.config[OWNER_KEY] === owner);
  return isOurs && (interrupted !== undefined || instance.config[STAGE_KEY] === undefined);
}

function onWorkerPool(container: string): Refusal {
  return {
    severity: "error",
    object: `container ${container}`,
    container,
    reason: `it is on pool ${WORKER_POOL}, which belongs to the taOS worker and is never touched`,
    remedy: "Take it out of optIn.migrate, optIn.pinRoot and optIn.undo.",
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
