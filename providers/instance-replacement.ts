import { messageOf, VisibleError } from "./errors.ts";
import type { IncusClient } from "./incus/client.ts";
import {
  deleteInstance,
  findInstance,
  type InstanceRef,
  listInstances,
  setInstanceState,
} from "./incus/instances.ts";
import { IMAGE_KEY, type InstanceArgs, STAGE_KEY } from "./instance-config.ts";
import { type Made, makeInstance, preflightInstance } from "./instance-creation.ts";
import { changeInstance } from "./migration/instance-patch.ts";
import { park, removeParked, unpark } from "./migration/parked.ts";
import { parkedRecordOf } from "./migration/parking.ts";
import { ownershipOf } from "./ownership.ts";
import { progressFor } from "./progress.ts";

const DELETE_DEADLINE = 120_000;
/** Stage of a parked instance whose successor is not ready yet. */
const REPLACING = "replacing";

/**
 * Makes an instance anew from its image and keeps the old one, parked with all its data. Goes on from wherever a
 * killed run left it. Where the new one cannot be made or does not become ready, the old one is back under its name.
 * @param before where and from what the instance was made
 */
export async function replaceInstance(
  client: IncusClient,
  before: InstanceRef & { image: string },
  args: InstanceArgs,
): Promise<Made> {
  const progress = progressFor(args.host.name, args.name);
  const old: InstanceRef = { project: before.project, name: before.name };
  await preflightInstance(client, args);
  const live = (await findInstance(client, old))?.value;
  const isSuccessor = live?.config[IMAGE_KEY] === args.image && old.project === args.project;
  let parked = await unfinishedPredecessor(client, args);
  if (live && !isSuccessor) {
    progress(`replaced: image ${before.image} → ${args.image}`);
    parked = (await park(client, old, { owner: args.owner }, progress)).parkedName;
    await changeInstance(client, { ...old, name: parked }, () => ({ config: { [STAGE_KEY]: REPLACING } }));
  }
  try {
    const made = await makeInstance(client, args, () => undefined);
    if (parked !== undefined) await concludeReplacement(client, { ...old, name: parked });
    return made;
  } catch (error) {
    if (parked === undefined) throw error;
    await removeUnfinished(client, args);
    await unpark(client, old, parked, progress);
    await concludeReplacement(client, old);
    throw new VisibleError(
      `Replacing instance "${args.name}" failed: ${messageOf(error)} The old container is back under its name.`,
    );
  }
}

function concludeReplacement(client: IncusClient, parked: InstanceRef): Promise<unknown> {
  return changeInstance(client, parked, () => ({ config: { [STAGE_KEY]: "" } }));
}

/** Name of the parked instance whose replacement a killed run did not finish. */
async function unfinishedPredecessor(client: IncusClient, args: InstanceArgs): Promise<string | undefined> {
  const instances = await listInstances(client);
  const parked = instances.find(
    (one) =>
      one.project === args.project &&
      one.config[STAGE_KEY] === REPLACING &&
      parkedRecordOf(one)?.name === args.name,
  );
  return parked?.name;
}

/**
 * After a run was killed between parking and making anew, and the name is free: with the opt-in the new one is made
 * (by the caller); without it the old one comes back.
 * @returns true where the old one is back
 */
export async function takeBackUnfinished(client: IncusClient, args: InstanceArgs): Promise<boolean> {
  const ref: InstanceRef = { project: args.project, name: args.name };
  const parked = await unfinishedPredecessor(client, args);
  if (parked === undefined || args.allowReplace || (await findInstance(client, ref))) return false;
  await unpark(client, ref, parked, progressFor(args.host.name, args.name));
  await concludeReplacement(client, ref);
  return true;
}

/** The new instance, made a moment ago and never ready. Anything else under the name stays. */
async function removeUnfinished(client: IncusClient, args: InstanceArgs): Promise<void> {
  const ref: InstanceRef = { project: args.project, name: args.name };
  const found = (await findInstance(client, ref))?.value;
  if (!found || found.config[STAGE_KEY] === undefined || ownershipOf(found.config, args.owner) !== "ours")
    return;
  if (found.status !== "Stopped") {
    await setInstanceState(client, ref, { action: "stop", force: true }, { deadline: DELETE_DEADLINE });
  }
  await deleteInstance(client, ref, { deadline: DELETE_DEADLINE });
}

/** Deletes the parked predecessors of an instance, also of one that came from another project. */
export async function removePredecessors(
  client: IncusClient,
  args: InstanceArgs,
  known: string,
): Promise<void> {
  const progress = progressFor(args.host.name, args.name);
  await removeParked(client, { project: args.project, name: args.name }, progress);
  const [project, name] = known.includes("/") ? known.split("/", 2) : [];
  if (!project || !name) return;
  const ref: InstanceRef = { project, name };
  const found = (await findInstance(client, ref))?.value;
  const record = found && parkedRecordOf(found);
  if (!record || record.name !== args.name || record.owner !== args.owner || found.status !== "Stopped")
    return;
  await deleteInstance(client, ref, { deadline: DELETE_DEADLINE });
  progress(`deleted parked "${known}"`);
}
