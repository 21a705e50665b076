import {
  type HostLook,
  type InstanceLook,
  nearestNames,
  OWNER_KEY,
  qualifiedName,
  STAGE_KEY,
  WORKER_POOL,
} from "@taos-hosts/providers";
import type { EffectivePool } from "./effective-pool.ts";
import { containerOf } from "./findings.ts";
import { planMigration } from "./migrations.ts";
import { findInstance, interruptedOf, type Present, parkedOf, type Scene } from "./scene.ts";
import type { ContainerPlan } from "./types.ts";
import { planUndo } from "./undo.ts";

/** Containers listed under `containers`, and agents that are there: found, and migrated, pinned or left. Nothing is done to any other. */
export function planContainers(
  scene: Scene,
  effective: EffectivePool | undefined,
  missingProjects: ReadonlySet<string>,
): ContainerPlan {
  const { host, look, owner } = scene;
  const plan: ContainerPlan = { moves: new Map(), pinned: new Set(), room: new Map() };
  for (const [name, entry] of [...Object.entries(host.containers), ...Object.entries(host.agents)]) {
    const interrupted = interruptedOf(look, entry.project, name);
    // During the swap of an interrupted migration nobody may have the name; what has its journal stands for it.
    const instance = findInstance(look, entry.project, name) ?? interrupted;
    if (!instance && missingProjects.has(entry.project)) continue;
    // An agent that is not there, or not finished, is the matter of `planAgents`.
    if (host.agents[name] && (!instance || !isMade(instance, interrupted, owner(name)))) continue;
    if (instance) planContainer(scene, plan, { name, entry, instance, interrupted }, effective);
    else refuseMissing(scene, { project: entry.project, name });
  }
  return plan;
}

function planContainer(
  scene: Scene,
  plan: ContainerPlan,
  present: Present,
  effective: EffectivePool | undefined,
): void {
  const { findings } = scene;
  const { name, instance, interrupted } = present;
  const { migrate, pinRoot, undo } = scene.host.optIn;
  const named = containerOf({ project: instance.project, name });
  if ([migrate, pinRoot, undo].some((names) => names.includes(name)) && instance.root?.pool === WORKER_POOL) {
    findings.refuse(named, {
      reason: `it is on pool ${WORKER_POOL}, which belongs to the taOS worker and is never touched`,
      remedy: "Take it out of optIn.migrate, optIn.pinRoot and optIn.undo.",
    });
    return;
  }
  if (undo.includes(name)) planUndo(scene, present);
  else if (migrate.includes(name)) planMigration(scene, plan, present, effective);
  else if (interrupted) {
    // Begun under an opt-in that is gone by now; the provider does not leave it half-way.
    const reason = "its interrupted migration is taken back, or finished where the swap had begun";
    findings.act("conclude-migration", named, reason);
  }
  const live = containerOf(instance);
  if (pinRoot.includes(name) && !plan.moves.has(live.container) && instance.root?.profile) {
    plan.pinned.add(live.container);
    const { pool, profile } = instance.root;
    const reason = `gets a root disk of its own on pool ${pool}, now from profile ${profile}; no stop, no data`;
    findings.act("pin-root", live, reason, { pool });
  }
}

/** An agent that this stack has made, or one of its instances in the middle of a swap. */
function isMade(instance: InstanceLook, interrupted: InstanceLook | undefined, owner: string): boolean {
  const isOurs = [instance, interrupted].some((one) => one?.config[OWNER_KEY] === owner);
  return isOurs && (interrupted !== undefined || instance.config[STAGE_KEY] === undefined);
}

function refuseMissing({ look, findings }: Scene, ref: { project: string; name: string }): void {
  const { object } = containerOf(ref);
  const elsewhere = look.instances.filter((one) => one.name === ref.name).map((one) => one.project);
  if (elsewhere.length > 0) {
    findings.refuse(
      { object },
      {
        reason: `it is not in project ${ref.project} but in ${elsewhere.join(", ")}`,
        remedy: `Set project: ${elsewhere[0]} on it.`,
      },
    );
    return;
  }
  const names = look.instances.filter((one) => parkedOf(one) === null).map((one) => one.name);
  const near = nearestNames(ref.name, names);
  const hint = near.length > 0 ? `Nearest on the host: ${near.join(", ")} (names are exact). ` : "";
  findings.refuse(
    { object },
    {
      reason: "there is no container of this name on the host",
      remedy: `${hint}Correct the name under containers, or remove it.`,
    },
  );
}

/** Custom volumes do not move with a container; this says which keep it on the old pool. */
export function volumeRemarks(look: HostLook, { moves }: ContainerPlan): string[] {
  return look.instances.flatMap((instance) => {
    const name = qualifiedName(instance);
    const target = moves.get(name);
    if (target === undefined) return [];
    const volumes = Object.values(instance.devices)
      .filter(({ type, keys: { pool, path } }) => type === "disk" && pool && path !== "/" && pool !== target)
      .map(({ keys: { pool, source = "" } }) => `${pool}/${source}`);
    if (volumes.length === 0) return [];
    return [`custom volumes of ${name} stay where they are: ${volumes.join(", ")}`];
  });
}
