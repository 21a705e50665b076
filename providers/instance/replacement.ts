import { messageOf, VisibleError } from "../common/errors.ts";
import { lifetimeSignal } from "../common/lifetime.ts";
import { refuseMountsBelow } from "../host/foreign-mounts.ts";
import type { IncusClient } from "../incus/client.ts";
import { changeInstance } from "../incus/instance-patch.ts";
import {
  deleteInstance,
  findInstance,
  type InstanceRef,
  listInstances,
  setInstanceState,
} from "../incus/instances.ts";
import type { Instance } from "../incus/schemas.ts";
import { BEING_REPLACED, IMAGE_KEY, NEW, STAGE_KEY } from "../marks/keys.ts";
import { parkedName } from "../marks/made-names.ts";
import { ownershipOf } from "../marks/ownership.ts";
import { parkedRecordOf } from "../marks/parked-record.ts";
import { settle } from "../migration/settle.ts";
import { park, removeParked, unpark } from "../parking/parked.ts";
import { progressFor } from "../pulumi/progress.ts";
import type { InstanceArgs } from "./config.ts";
import { type Made, makeInstance, preflightInstance } from "./creation.ts";

const DELETE_DEADLINE = 120_000;

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
    const stage = { [STAGE_KEY]: BEING_REPLACED };
    // Written before it is stopped, so that a run after a kill knows that it has to run.
    if (live.status !== "Stopped") await changeInstance(client, old, () => ({ config: stage }));
    const wasRunning = live.config[STAGE_KEY] === BEING_REPLACED && !parkedRecordOf(live);
    const options = { owner: args.owner, config: stage, wasRunning };
    parked = (await park(client, old, options, progress)).parkedName;
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
export async function unfinishedPredecessor(
  client: IncusClient,
  args: InstanceArgs,
): Promise<string | undefined> {
  const instances = await listInstances(client);
  const parked = instances.find(
    (one) =>
      one.project === args.project &&
      one.config[STAGE_KEY] === BEING_REPLACED &&
      parkedRecordOf(one)?.name === args.name,
  );
  return parked?.name;
}

/**
 * Ends what a killed run left of a replacement. Where the new one is ready, nothing is left to do but to say so. Where
 * it is not, and is no longer opted in or wanted, it goes and the old one comes back under its name.
 */
export async function settleReplacement(client: IncusClient, args: InstanceArgs): Promise<void> {
  const ref: InstanceRef = { project: args.project, name: args.name };
  const progress = progressFor(args.host.name, args.name);
  const before = await unfinishedPredecessor(client, args);
  // Operations of a run that was killed go on in the daemon, its rename among them.
  if (before !== undefined) await settle(client, args.project, [args.name, before], lifetimeSignal());
  const name = before === undefined ? undefined : await unfinishedPredecessor(client, args);
  const live = (await findInstance(client, ref))?.value;
  if (live && parkedRecordOf(live)) {
    if (isWanted(live, args)) return;
    await unpark(client, ref, parkedName(ref.name, live.config["volatile.uuid"] ?? ""), progress);
    await concludeReplacement(client, ref);
    return;
  }
  const old = name === undefined ? undefined : (await findInstance(client, { ...ref, name }))?.value;
  if (!old) return;
  if (live && live.config[STAGE_KEY] !== NEW) {
    await concludeReplacement(client, { ...ref, name: old.name });
    return;
  }
  if (isWanted(old, args)) return;
  await removeUnfinished(client, args);
  await unpark(client, ref, old.name, progress);
  await concludeReplacement(client, ref);
}

/** The replacement of `old` that was begun is still asked for. */
function isWanted(old: { config: Record<string, string> }, args: InstanceArgs): boolean {
  return args.allowReplace && old.config[IMAGE_KEY] !== args.image;
}

/** Whether the replacement of an instance is under way, by the instances of its project. */
export function isBeingReplaced(instances: readonly Instance[], name: string): boolean {
  return instances.some(
    (one) =>
      one.config[STAGE_KEY] === BEING_REPLACED && (one.name === name || parkedRecordOf(one)?.name === name),
  );
}

/** The new instance, made a moment ago and never ready. Anything else under the name stays. */
async function removeUnfinished(client: IncusClient, args: InstanceArgs): Promise<void> {
  const ref: InstanceRef = { project: args.project, name: args.name };
  const found = (await findInstance(client, ref))?.value;
  if (!found || found.config[STAGE_KEY] !== NEW || ownershipOf(found.config, args.owner) !== "ours") return;
  await refuseMountsBelow(client, ref);
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
  await refuseMountsBelow(client, ref);
  await deleteInstance(client, ref, { deadline: DELETE_DEADLINE });
  progress(`deleted parked "${known}"`);
}
