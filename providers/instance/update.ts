import { messageOf, VisibleError } from "../common/errors.ts";
import type { IncusClient } from "../incus/client.ts";
import { findInstance, listInstances } from "../incus/instances.ts";
import { withLock } from "../incus/lock.ts";
import type { Instance as LiveInstance } from "../incus/schemas.ts";
import { BEING_REPLACED, IMAGE_KEY, STAGE_KEY } from "../marks/keys.ts";
import { parkedNamesOf } from "../parking/parked.ts";
import { isMoveWanted, NO_OPT_INS, place, type Whereabouts, whereaboutsOf } from "../placement/placement.ts";
import { changedFields } from "../pulumi/drift.ts";
import { PartialFailure } from "../pulumi/lifecycle.ts";
import { progressFor } from "../pulumi/progress.ts";
import { filesNotAsMarked } from "./changes.ts";
import type { InstanceArgs } from "./config.ts";
import { finishInstance, isUnstarted, type Made, makeInstance } from "./creation.ts";
import { filesMark, type InstanceFile, writeFiles } from "./files.ts";
import {
  removePredecessors,
  replaceInstance,
  settleReplacement,
  unfinishedPredecessor,
} from "./replacement.ts";
import { type InstanceState, isOurs, replacingFields } from "./state.ts";
import { syncInstance } from "./sync.ts";

function stateOf(
  args: InstanceArgs,
  instance: LiveInstance,
  isReady: boolean,
  ipv4 = "",
  parked = "",
): InstanceState {
  return {
    ...args,
    uuid: instance.config["volatile.uuid"] ?? "",
    ipv4,
    isReady,
    parked,
    drift: [],
  };
}

/**
 * Files that are not as they were written last: by the state, or by the mark on the instance where that says another
 * thing. Where there is no mark yet, the state counts alone.
 */
function changedFiles(state: InstanceState, args: InstanceArgs, live: LiveInstance): InstanceFile[] {
  const written = new Map(state.files.map((file) => [file.path, filesMark([file])]));
  const onHost = new Set(filesNotAsMarked(args.files, live));
  return args.files.filter((file) => onHost.has(file) || written.get(file.path) !== filesMark([file]));
}

/** Name of the parked predecessor, with its project where that is another; empty where there is none. */
async function predecessorOf(client: IncusClient, project: string, args: InstanceArgs): Promise<string> {
  const instances = (await listInstances(client)).filter((one) => one.project === project);
  const name = parkedNamesOf(instances, args.name)[0];
  if (name === undefined) return "";
  return project === args.project ? name : `${project}/${name}`;
}

async function make(args: InstanceArgs, client: IncusClient, parked = ""): Promise<InstanceState> {
  let created: LiveInstance | undefined;
  try {
    const { uuid, ipv4, isResumed } = await makeInstance(client, args, (instance) => {
      created = instance;
    });
    const image = created?.config[IMAGE_KEY] ?? args.image;
    const held = { ...args, image };
    if (isResumed) await syncInstance(client, held, held);
    return { ...held, uuid, ipv4, isReady: true, parked, drift: [] };
  } catch (error) {
    if (!created) throw error;
    throw new PartialFailure(messageOf(error), args.name, stateOf(args, created, false, "", parked), {
      cause: error,
    });
  }
}

async function replace(
  before: InstanceArgs,
  args: InstanceArgs,
  client: IncusClient,
): Promise<InstanceState> {
  const { uuid, ipv4 } = await replaceInstance(client, before, args);
  const parked = await predecessorOf(client, before.project, args);
  return { ...args, uuid, ipv4, isReady: true, parked, drift: [] };
}

/** Where nobody has the name: goes on with the replacement that a killed run was at, or makes the instance. */
async function makeOrReplace(
  args: InstanceArgs,
  client: IncusClient,
  parked: string,
): Promise<InstanceState> {
  const isReplacing = (await unfinishedPredecessor(client, args)) !== undefined;
  return isReplacing ? replace(args, args, client) : make(args, client, parked);
}

/** Does what the opt-ins about its pool ask for. What is left half-way is in the state, for the next run to end. */
async function move(state: InstanceState, args: InstanceArgs, client: IncusClient): Promise<void> {
  // Its alone: a migration writes it down.
  const ref = { project: state.project, name: state.name };
  const look = async (): Promise<Whereabouts | undefined> => whereaboutsOf(await listInstances(client), ref);
  const where = await look();
  const optIns = args.placement ?? NO_OPT_INS;
  if (!where || !isMoveWanted(where, optIns)) return;
  const options = { owner: args.owner, progress: progressFor(args.host.name, args.name) };
  try {
    await place(client, ref, where, optIns, options);
  } catch (error) {
    const left = await look().catch(() => undefined);
    if (left?.unfinished === undefined || !(error instanceof VisibleError)) throw error;
    throw new PartialFailure(error.message, args.name, { ...state, where: left }, { cause: error });
  }
}

/** Ends a migration of which Pulumi's state knows nothing: without it the agent would be made anew beside its data. */
async function endMigration(args: InstanceArgs, client: IncusClient): Promise<void> {
  const ref = { project: args.project, name: args.name };
  const where = whereaboutsOf(await listInstances(client), ref);
  if (where?.unfinished === undefined) return;
  const options = { owner: args.owner, progress: progressFor(args.host.name, args.name) };
  await place(client, ref, where, args.placement ?? NO_OPT_INS, options);
}

/** Makes an instance of which Pulumi's state knows nothing, going on from wherever a killed run left it. */
export async function createInstance(args: InstanceArgs, client: IncusClient): Promise<InstanceState> {
  return withLock(`instance:${client.key}:${args.name}`, async () => {
    await endMigration(args, client);
    await settleReplacement(client, args);
    return makeOrReplace(args, client, await predecessorOf(client, args.project, args));
  });
}

/** Brings an instance from its state to what is wanted, going on from wherever a killed run left it. */
export async function updateInstance(
  state: InstanceState,
  args: InstanceArgs,
  client: IncusClient,
): Promise<InstanceState> {
  return withLock(`instance:${client.key}:${args.name}`, async () => {
    await move(state, args, client);
    if (!state.isReady) await settleReplacement(client, { ...args, project: state.project });
    const found = await findInstance(client, state);
    if (!found) return makeOrReplace(args, client, state.parked);
    if (!isOurs(state, found.value)) {
      throw new VisibleError(
        `Instance "${args.name}" was not made by this stack and is left alone. List it under containers, or give the agent another name.`,
      );
    }
    // Its files may be missing: it is gone on with as a creation.
    if (isUnstarted(found.value)) return make(args, client, state.parked);
    if (args.removeParked) await removePredecessors(client, args, state.parked);
    const parkedBefore = args.removeParked ? "" : state.parked;
    const unfinished = state.isReady ? undefined : await unfinishedPredecessor(client, args);
    if (args.allowReplace && (unfinished !== undefined || replacingFields(state, args).length > 0))
      return replace(state, args, client);
    // Held back: what would need a replacement stays as it is until optIn.replace names the instance.
    const held: InstanceArgs = { ...args, image: state.image, project: state.project };
    const live = await syncInstance(client, state, held);
    await writeFiles(client, held, changedFiles(state, held, found.value));
    const restart = changedFields(state, held).filter(
      (field) => field === "environment" || field === "idmapUid",
    );
    if (restart.length > 0 && state.isReady && live.status === "Running") {
      progressFor(args.host.name, args.name)(`${restart.join(" and ")} take effect at its next start`);
    }
    if (state.isReady && live.config[STAGE_KEY] === undefined)
      return stateOf(held, live, true, state.ipv4, parkedBefore);
    try {
      const finish = (): Promise<Made> => finishInstance(client, held, () => undefined);
      // The stop that a killed run asked for may take effect only now.
      const isStopping = live.config[STAGE_KEY] === BEING_REPLACED;
      const made = await finish().catch((error: unknown) => (isStopping ? finish() : Promise.reject(error)));
      return stateOf(held, live, true, made.ipv4, parkedBefore);
    } catch (error) {
      throw new PartialFailure(messageOf(error), args.name, stateOf(held, live, false, "", parkedBefore), {
        cause: error,
      });
    }
  });
}
