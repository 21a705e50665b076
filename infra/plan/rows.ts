import {
  formatBytes,
  type HostLook,
  type InstanceLook,
  isCopyOnWrite,
  OWNER_KEY,
  qualifiedName,
} from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";
import { migrationCost } from "./cost.ts";
import { migrationOf, parkedOf } from "./parked.ts";
import type { EffectivePool } from "./pools.ts";
import type { Action, ContainerRow, Cost, Refusal } from "./types.ts";

const ACTION_WORDS: Partial<Record<Action["kind"], string>> = {
  "conclude-migration": "its migration is ended",
  "undo-migration": "goes back to its kept source",
  "create-agent": "is completed",
  "update-agent": "is changed in place",
  "replace-agent": "is made anew",
  "delete-agent": "is deleted",
  "pin-root": "gets its own root disk",
  "remove-parked": "is deleted",
};

/** Every container of the host, with what happens to it or why nothing does. */
export function containerRows(
  host: HostConfig,
  look: HostLook,
  effective: EffectivePool | undefined,
  findings: { actions: Action[]; refusals: Refusal[] },
): ContainerRow[] {
  const target = effective && isCopyOnWrite(effective.driver) ? effective.freeBytes : null;
  return look.instances.map((instance) => {
    const name = qualifiedName(instance);
    const pool = look.pools.find((one) => one.name === instance.root?.pool);
    const driver = pool?.driver ?? "";
    const listed = listing(host, instance);
    const action = findings.actions.find(({ container }) => container === name);
    const refusal = findings.refusals.find(({ container }) => container === name);
    const parked = parkedOf(instance);
    const movable =
      driver !== "" && !isCopyOnWrite(driver) && instance.type === "container" && parked === null;
    const migration = movable ? migrationCost(instance, look, target) : null;
    return {
      name,
      status: instance.status,
      pool: instance.root?.pool ?? "",
      driver,
      rootFrom:
        instance.root === null
          ? "none"
          : instance.root.profile === null
            ? "own"
            : `profile ${instance.root.profile}`,
      listed,
      protected: isProtected(host, instance, listed),
      parkedOf: parked,
      bytes: instance.bytes,
      snapshotBytes: instance.snapshotBytes,
      snapshots: instance.snapshots.length,
      action: action ? wordsOf(action) : null,
      whyNot: action ? null : (refusal?.reason ?? whyNot(instance, listed, migration)),
      migration,
    };
  });
}

function listing(host: HostConfig, instance: InstanceLook): ContainerRow["listed"] {
  if (host.containers[instance.name]?.project === instance.project) return "containers";
  return host.agents[instance.name]?.project === instance.project && instance.config[OWNER_KEY]
    ? "agents"
    : "no";
}

/** What is on the host and not listed is protected all the same. */
function isProtected(host: HostConfig, instance: InstanceLook, listed: ContainerRow["listed"]): boolean {
  if (listed === "no") return true;
  return (listed === "containers" ? host.containers : host.agents)[instance.name]?.protected ?? true;
}

function wordsOf(action: Action): string {
  if (action.kind === "migrate") return `moves to pool ${action.pool ?? ""}`;
  return ACTION_WORDS[action.kind] ?? action.kind;
}

function whyNot(
  instance: InstanceLook,
  listed: ContainerRow["listed"],
  migration: Cost | null,
): string | null {
  const parked = parkedOf(instance);
  if (parked !== null) return `kept for ${parked}; optIn.removeParked deletes it`;
  const moving = migrationOf(instance);
  if (moving !== null && moving !== instance.name) return `belongs to the migration of ${moving}`;
  if (migration === null) return null;
  const first = listed === "no" ? "not listed" : "not under optIn.migrate";
  return `${first}; a migration ${describeCost(migration)}`;
}

/** What a migration would take, for people: `copies 1.4 GiB, 2 snapshots, down about 14 s`. */
export function describeCost({ bytes, snapshots, downtimeSeconds }: Cost): string {
  const parts = [bytes === null ? "size unknown" : `copies ${formatBytes(bytes)}`];
  if (snapshots > 0) parts.push(`${snapshots} snapshot${snapshots === 1 ? "" : "s"}`);
  parts.push(
    downtimeSeconds === null
      ? "down for an unknown time"
      : downtimeSeconds === 0
        ? "no downtime"
        : `down about ${downtimeSeconds} s`,
  );
  return parts.join(", ");
}
