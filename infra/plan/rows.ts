import {
  type InstanceLook,
  isCopyOnWrite,
  migrationMarkOf,
  OWNER_KEY,
  qualifiedName,
} from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";
import { describeCost, migrationCost } from "./cost.ts";
import type { EffectivePool } from "./effective-pool.ts";
import { findPool, parkedOf, type Scene } from "./scene.ts";
import type { Action, ActionKind, ContainerRow, Cost } from "./types.ts";

const ACTION_WORDS: Partial<Record<ActionKind, string>> = {
  "conclude-migration": "its migration is ended",
  "undo-migration": "goes back to its kept source",
  "create-agent": "is completed",
  "update-agent": "is changed in place",
  "replace-agent": "is made anew",
  "delete-agent": "is deleted",
  "pin-root": "gets its own root disk",
  "remove-parked": "is deleted",
};

/** Every container of the host, with what the findings say of it, or why nothing happens to it. */
export function containerRows(
  { host, look, findings }: Scene,
  effective: EffectivePool | undefined,
): ContainerRow[] {
  const free = effective && isCopyOnWrite(effective.driver) ? effective.freeBytes : null;
  return look.instances.map((instance) => {
    const { status, root, bytes, snapshotBytes, snapshots } = instance;
    const name = qualifiedName(instance);
    const driver = findPool(look, root?.pool)?.driver ?? "";
    const listed = listing(host, instance);
    const action = findings.actions.find(({ container }) => container === name);
    const refusal = findings.refusals.find(({ container }) => container === name);
    const parked = parkedOf(instance);
    const isMovable =
      driver !== "" && !isCopyOnWrite(driver) && instance.type === "container" && parked === null;
    const migration = isMovable ? migrationCost(instance, look, free) : null;
    return {
      name,
      status,
      pool: root?.pool ?? "",
      driver,
      rootFrom: root === null ? "none" : root.profile === null ? "own" : `profile ${root.profile}`,
      listed,
      // What is on the host and not listed is protected all the same.
      protected: listed === "no" || (host[listed][instance.name]?.protected ?? true),
      parkedOf: parked,
      bytes,
      snapshotBytes,
      snapshots: snapshots.length,
      action: action ? wordsOf(action) : null,
      whyNot: action ? null : (refusal?.reason ?? whyNot(instance, listed, migration)),
      migration,
    };
  });
}

function listing(host: HostConfig, { name, project, config }: InstanceLook): ContainerRow["listed"] {
  if (host.containers[name]?.project === project) return "containers";
  return host.agents[name]?.project === project && config[OWNER_KEY] ? "agents" : "no";
}

function wordsOf({ kind, pool = "" }: Action): string {
  return kind === "migrate" ? `moves to pool ${pool}` : (ACTION_WORDS[kind] ?? kind);
}

function whyNot(
  instance: InstanceLook,
  listed: ContainerRow["listed"],
  migration: Cost | null,
): string | null {
  const parked = parkedOf(instance);
  if (parked !== null) return `kept for ${parked}; optIn.removeParked deletes it`;
  const moving = migrationMarkOf(instance);
  if (moving !== undefined && moving !== instance.name) return `belongs to the migration of ${moving}`;
  if (migration === null) return null;
  const first = listed === "no" ? "not listed" : "not under optIn.migrate";
  return `${first}; a migration ${describeCost(migration)}`;
}
