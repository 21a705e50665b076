import { VisibleError } from "../common/errors.ts";
import { openHostFiles } from "../host/files.ts";
import { refuseMountsBelow } from "../host/foreign-mounts.ts";
import type { IncusClient } from "../incus/client.ts";
import { changeInstance } from "../incus/instance-patch.ts";
import { deleteInstance, findInstance, type InstanceRef, renameInstance } from "../incus/instances.ts";
import { rootPool } from "../incus/root-device.ts";
import type { Instance } from "../incus/schemas.ts";
import { isSuccessor, migrationMarkOf, parkedMarkOf } from "../marks/identity.ts";
import { readJournal } from "../marks/journal.ts";
import { JOURNAL_KEY } from "../marks/keys.ts";
import { parkedName } from "../marks/made-names.ts";
import { parkedChange, parkedRecordOf } from "../marks/parked-record.ts";
import { listProjectInstances } from "../migration/observation.ts";
import { unparkSettings } from "../migration/swap/parking.ts";
import { startInstance } from "../migration/swap/start.ts";
import { stopInstance } from "../migration/swap/stop.ts";
import type { Progress } from "../pulumi/progress.ts";

/** Milliseconds to rename an instance. */
const RENAME_DEADLINE = 120_000;
/** Milliseconds to delete a container with its snapshots from a slow `dir` pool. */
const DELETE_DEADLINE = 3_600_000;
/** Milliseconds that a container has to stop before it is replaced. */
const STOP_TIMEOUT = 60_000;

export interface ParkOptions {
  /** Ownership mark of the stack that parks it. */
  owner: string;
  /** Milliseconds. @default 60000 */
  stopTimeout?: number;
  /** @default false */
  forceStop?: boolean;
  /** Bringing it back includes starting it, also where an interrupted run has stopped it already. @default false */
  wasRunning?: boolean;
  /** Config that is set in the same request as the record of the parking. */
  config?: Record<string, string>;
}

/** Names of the parked instances of a container, as an observation without a migration under way shows them. */
export function parkedNamesOf(instances: readonly Instance[], name: string): string[] {
  return instances
    .filter(
      (instance) =>
        parkedRecordOf(instance) !== undefined &&
        parkedMarkOf(instance)?.name === name &&
        !instance.config[JOURNAL_KEY],
    )
    .map((instance) => instance.name)
    .sort();
}

/**
 * Puts an instance aside for a replacement: stopped, renamed, without addresses, autostart and snapshot schedule,
 * with all its data. Safe to repeat after an interruption.
 * @throws VisibleError where it ignores the stop signal, or a migration of it is under way
 */
export async function park(
  client: IncusClient,
  ref: InstanceRef,
  options: ParkOptions,
  progress: Progress,
): Promise<{ parkedName: string }> {
  const found = (await findInstance(client, ref))?.value;
  if (!found)
    throw new VisibleError(`There is no instance "${ref.name}" in project "${ref.project}" to park.`);
  if (readJournal(found)) {
    throw new VisibleError(
      `Refusing to replace "${ref.name}": a migration of it is under way. Let it end first.`,
    );
  }
  const target = parkedName(ref.name, found.config["volatile.uuid"] ?? "");
  if (await findInstance(client, { ...ref, name: target })) {
    throw new VisibleError(
      `Refusing to replace "${ref.name}": the name "${target}" for its parked copy is taken. Name it in optIn.removeParked, then run again.`,
    );
  }
  if (found.status !== "Stopped") {
    progress("stopping the container that is replaced");
    await stopInstance(client, ref, {
      timeout: options.stopTimeout ?? STOP_TIMEOUT,
      force: options.forceStop ?? false,
      files: await openHostFiles(client),
    });
  }
  const wasRunning = found.status !== "Stopped" || options.wasRunning === true;
  await changeInstance(client, ref, (instance) => {
    if (parkedRecordOf(instance)) return undefined;
    const { owner, config } = options;
    const about = { name: ref.name, project: ref.project, pool: rootPool(instance), owner, wasRunning };
    const parked = parkedChange(instance, { ...about, reason: "replaced" });
    return { ...parked, config: { ...parked.config, ...config } };
  });
  await renameInstance(client, ref, target, { deadline: RENAME_DEADLINE });
  progress(`parked as "${target}"`);
  return { parkedName: target };
}

/**
 * Takes a parking back: the instance gets its name and settings again, and runs if it ran.
 * @param parked name of the parked instance
 * @throws VisibleError where the name is taken meanwhile
 */
export async function unpark(
  client: IncusClient,
  ref: InstanceRef,
  parked: string,
  progress: Progress,
): Promise<void> {
  const parkedRef = { ...ref, name: parked };
  const holder = (await findInstance(client, parkedRef))?.value;
  const record = holder && parkedRecordOf(holder);
  const named = (await findInstance(client, ref))?.value;
  if (record) {
    if (named) throw new VisibleError(`Cannot bring back "${parked}": the name "${ref.name}" is taken.`);
    await renameInstance(client, parkedRef, ref.name, { deadline: RENAME_DEADLINE });
  }
  const back = record ?? (named && parkedRecordOf(named));
  if (!back) throw new VisibleError(`There is no parked instance "${parked}".`);
  await unparkSettings(client, ref, back.originals, () => ({}));
  if (back.wasRunning) await startInstance(client, ref);
  progress(`brought back "${ref.name}" from "${parked}"`);
}

/**
 * Deletes the parked instances of a container and frees their space. Does nothing where there is none.
 * @returns the names that were deleted
 * @throws VisibleError where the parked one may be all there is, or runs
 */
export async function removeParked(
  client: IncusClient,
  ref: InstanceRef,
  progress: Progress,
): Promise<string[]> {
  const instances = await listProjectInstances(client, ref.project);
  const names = parkedNamesOf(instances, ref.name);
  if (names.length === 0) return [];
  for (const name of names) {
    const parkedRef = { ...ref, name };
    await requireRemovable(client, ref, parkedRef);
    await refuseMountsBelow(client, parkedRef);
    await changeInstance(client, parkedRef, (instance) =>
      instance.expanded_config["security.protection.delete"] === "true"
        ? { config: { "security.protection.delete": "false" } }
        : undefined,
    );
    await requireRemovable(client, ref, parkedRef);
    await deleteInstance(client, parkedRef, { deadline: DELETE_DEADLINE });
    progress(`deleted parked "${name}"`);
  }
  return names;
}

/** Proves, at the moment of its deletion, that a parked instance is one, is stopped, and is not all that there is. */
async function requireRemovable(client: IncusClient, ref: InstanceRef, parked: InstanceRef): Promise<void> {
  const [named, found] = await Promise.all([findInstance(client, ref), findInstance(client, parked)]);
  const refuse = (reason: string): never => {
    throw new VisibleError(`Refusing to delete "${parked.name}": ${reason}`);
  };
  if (!found || parkedMarkOf(found.value)?.name !== ref.name)
    return refuse("it is no parked instance any more. Run again.");
  if (!named || parkedRecordOf(named.value))
    return refuse(`there is no instance "${ref.name}", so it may hold the only copy of its data.`);
  if (!isSuccessor(named.value, found.value)) {
    refuse(
      `"${ref.name}" is not the instance that took over from it (its volatile.uuid differs), so it may hold the only copy of its data. If it is no longer needed: incus delete ${parked.name}`,
    );
  }
  if (migrationMarkOf(named.value) !== undefined) {
    refuse(`the migration of "${ref.name}" has not ended. Run again with it in optIn.migrate first.`);
  }
  if (found.value.status !== "Stopped") refuse("it runs. Stop it first if it is really no longer needed.");
}
