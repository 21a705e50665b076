import { isPreconditionFailed, messageOf, VisibleError } from "../common/errors.ts";
import { refuseMountsBelow } from "../host/foreign-mounts.ts";
import type { IncusClient } from "../incus/client.ts";
import {
  deleteInstance,
  findInstance,
  type InstanceRef,
  listInstances,
  putInstance,
  setInstanceState,
} from "../incus/instances.ts";
import { withLock } from "../incus/lock.ts";
import { rootDisk } from "../incus/root-disk.ts";
import type { Instance as LiveInstance } from "../incus/schemas.ts";
import { shared } from "../incus/shared.ts";
import { BEING_REPLACED, IMAGE_KEY, STAGE_KEY } from "../marks/keys.ts";
import { ownershipOf } from "../marks/ownership.ts";
import { parkedNamesOf } from "../parking/parked.ts";
import { isMoveWanted, NO_OPT_INS, place, type Whereabouts, whereaboutsOf } from "../placement/placement.ts";
import { defineResource } from "../pulumi/definition.ts";
import { changedFields } from "../pulumi/drift.ts";
import { type CommonState, type Lifecycle, PartialFailure } from "../pulumi/lifecycle.ts";
import { progressFor } from "../pulumi/progress.ts";
import { driftOf, filesNotAsMarked } from "./changes.ts";
import { InstanceArgs, wantedConfig, wantedDevices } from "./config.ts";
import { finishInstance, isUnstarted, type Made, makeInstance } from "./creation.ts";
import { filesMark, type InstanceFile, writeFiles } from "./files.ts";
import { checkQuota } from "./quota.ts";
import { leasedAddress } from "./readiness.ts";
import {
  isBeingReplaced,
  removePredecessors,
  replaceInstance,
  settleReplacement,
  unfinishedPredecessor,
} from "./replacement.ts";
import { liveRootName, rootNameFor } from "./root.ts";

const UPDATE_DEADLINE = 120_000;
/** An instance that is being deleted gets this long to stop, in seconds; then it is killed. */
const STOP_TIMEOUT = 30;

interface InstanceState extends InstanceArgs, CommonState {
  /** `volatile.uuid`: tells a container of the same name made by somebody else. */
  uuid: string;
  /** First IPv4 address as of the last look; empty where none was waited for. */
  ipv4: string;
  /** False where the instance exists but is not up yet: the next run goes on. */
  isReady: boolean;
  /** Name of the predecessor that a replacement kept; empty where there is none. */
  parked: string;
  drift: string[];
  /** Where it is, as of the last refresh; states of 0.1 lack it. */
  where?: Whereabouts | undefined;
}

/** Args that say how to make one, or permit something: nothing of a ready instance differs by them. */
const NOT_ON_HOST = [
  "pool",
  "removeParked",
  "allowReplace",
  "ready",
  "readyTimeout",
  "placement",
  "secretProps",
] as const satisfies readonly (keyof InstanceArgs)[];
/** Args whose change makes the instance anew. */
const REPLACING_ARGS = ["image", "project"] as const satisfies readonly (keyof InstanceArgs)[];
function refOf(args: Pick<InstanceArgs, "project" | "name">): InstanceRef {
  return { project: args.project, name: args.name };
}

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

/** Ours by its mark; where somebody took the mark off, by the uuid that Incus gave it when we made it. */
function isOurs(state: InstanceState, live: LiveInstance): boolean {
  const ownership = ownershipOf(live.config, state.owner);
  return ownership === "ours" || (ownership === "unowned" && live.config["volatile.uuid"] === state.uuid);
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

/** What of a change takes a new container. */
function replacingFields(state: InstanceState, args: InstanceArgs): string[] {
  return changedFields(state, args).filter((field) => (REPLACING_ARGS as readonly string[]).includes(field));
}

/** Name of the parked predecessor, with its project where that is another; empty where there is none. */
async function predecessorOf(client: IncusClient, project: string, args: InstanceArgs): Promise<string> {
  const instances = (await listInstances(client)).filter((one) => one.project === project);
  const name = parkedNamesOf(instances, args.name)[0];
  if (name === undefined) return "";
  return project === args.project ? name : `${project}/${name}`;
}

/** Writes the difference between what was wanted, what is wanted and what is there; other keys and devices stay. */
async function syncInstance(
  client: IncusClient,
  before: InstanceArgs,
  args: InstanceArgs,
): Promise<LiveInstance> {
  const ref = refOf(args);
  for (let attempt = 1; ; attempt++) {
    const found = await findInstance(client, ref);
    if (!found)
      throw new VisibleError(
        `Instance "${args.name}" is gone. Run up again: the refresh notices, and it is made anew.`,
      );
    const { value: live, etag } = found;
    const pool = rootDisk(live.expanded_devices)?.pool ?? args.pool;
    const config = without(live.config, Object.keys(wantedConfig(before)));
    const was = liveRootName(live);
    const name = await rootNameFor(client, args);
    const devices = without(live.devices, Object.keys(wantedDevices(before, pool, was)));
    const wanted = wantedDevices(args, pool, name);
    const root = { ...live.devices[was], ...wanted[name] };
    if (args.disk === undefined && before.disk !== undefined) delete root["size"];
    const next = {
      ...live,
      description: args.description,
      profiles: args.profiles,
      config: withoutEmpty({ ...config, ...wantedConfig(args) }),
      devices: mapValues({ ...devices, ...wanted, [name]: root }, withoutEmpty),
    };
    const fields = ["description", "profiles", "config", "devices"] as const;
    if (
      changedFields(live, next).filter((field) => (fields as readonly string[]).includes(field)).length === 0
    )
      return live;
    const current = live.devices[was]?.["size"];
    await checkQuota(client, ref, { name: was, pool, wanted: root["size"], current });
    try {
      await putInstance(client, ref, next, etag, { deadline: UPDATE_DEADLINE });
      return next;
    } catch (error) {
      if (!isPreconditionFailed(error) || attempt === 5) throw error;
    }
  }
}

/** Incus keeps no key without a value; an empty one unsets it. */
function withoutEmpty(config: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== ""));
}

function mapValues<T>(record: Record<string, T>, change: (value: T) => T): Record<string, T> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));
}

function without<T>(record: Record<string, T>, keys: readonly string[]): Record<string, T> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => !keys.includes(key)));
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

/** Of an instance that no opt-in asks to move. */
const NOWHERE = { pool: "", inheritsRoot: false };

/** A state with where the instance is, for the next comparison with its opt-ins. */
async function located(state: InstanceState, client: IncusClient): Promise<InstanceState> {
  return state.placement
    ? { ...state, where: whereaboutsOf(await listInstances(client), refOf(state)) }
    : state;
}

/** Does what the opt-ins about its pool ask for. What is left half-way is in the state, for the next run to end. */
async function move(state: InstanceState, args: InstanceArgs, client: IncusClient): Promise<void> {
  const ref = refOf(state);
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
  const where = whereaboutsOf(await listInstances(client), refOf(args));
  if (where?.unfinished === undefined) return;
  const options = { owner: args.owner, progress: progressFor(args.host.name, args.name) };
  await place(client, refOf(args), where, args.placement ?? NO_OPT_INS, options);
}

async function update(state: InstanceState, args: InstanceArgs, client: IncusClient): Promise<InstanceState> {
  const ref = refOf(args);
  return withLock(`instance:${client.key}:${args.name}`, async () => {
    await move(state, args, client);
    if (!state.isReady) await settleReplacement(client, { ...args, project: state.project });
    const found = await findInstance(client, refOf(state));
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
    await writeFiles(client, refOf(held), changedFiles(state, held, found.value));
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
      return { ...stateOf(held, live, true, made.ipv4, parkedBefore) };
    } catch (error) {
      throw new PartialFailure(messageOf(error), ref.name, stateOf(held, live, false, "", parkedBefore), {
        cause: error,
      });
    }
  });
}

const lifecycle: Lifecycle<InstanceArgs, InstanceState> = {
  diff(state, args) {
    if (state.name !== args.name) return { changes: true, replaces: ["name"] };
    const replacing = replacingFields(state, args);
    const others = changedFields(state, args, [...REPLACING_ARGS, ...NOT_ON_HOST]);
    const sync = !state.isReady || state.drift.length > 0 || others.length > 0;
    if (replacing.length > 0 && !args.protected && !state.protected)
      return { changes: true, replaces: replacing };
    const replace = replacing.length > 0 && args.allowReplace;
    // Where it is, the last refresh has seen; without one, the update looks.
    const where = state.where ?? (args.placement ? undefined : NOWHERE);
    if (!where || isMoveWanted(where, args.placement ?? NO_OPT_INS)) return { changes: true };
    return { changes: sync || replace || (args.removeParked && state.parked !== "") };
  },

  async create(args, client) {
    const state = await withLock(`instance:${client.key}:${args.name}`, async () => {
      await endMigration(args, client);
      await settleReplacement(client, args);
      return makeOrReplace(args, client, await predecessorOf(client, args.project, args));
    });
    return { id: args.name, state: await located(state, client) };
  },

  async read(_id, state, client) {
    const instances = await shared(client, "instances", listInstances);
    const live = instances.find(({ name, project }) => name === state.name && project === state.project);
    const where = whereaboutsOf(instances, state);
    // In the middle of a swap nobody has the name.
    if (!live) return where?.unfinished === undefined ? undefined : { ...state, where };
    if (!isOurs(state, live)) {
      return { ...state, drift: [`the container of this name was not made by this stack`] };
    }
    const ipv4 = live.status === "Running" ? ((await leasedAddress(client, live)) ?? state.ipv4) : state.ipv4;
    const parked = state.parked.includes("/")
      ? state.parked
      : (parkedNamesOf(
          instances.filter((one) => one.project === state.project),
          state.name,
        )[0] ?? "");
    const isReady =
      state.isReady &&
      live.config[STAGE_KEY] === undefined &&
      !isBeingReplaced(
        instances.filter((one) => one.project === state.project),
        state.name,
      );
    // Another one of ours under the name: the successor that a killed run made.
    const isSuccessor = live.config["volatile.uuid"] !== state.uuid && live.config[IMAGE_KEY] !== undefined;
    const image = isSuccessor ? (live.config[IMAGE_KEY] ?? state.image) : state.image;
    return {
      ...state,
      image,
      ipv4,
      isReady,
      parked,
      uuid: live.config["volatile.uuid"] ?? state.uuid,
      drift: driftOf({ ...state, image }, live),
      where,
    };
  },

  async update(_id, state, args, client) {
    return located(await update(state, args, client), client);
  },

  async delete(_id, state, client) {
    const ref = refOf(state);
    const found = await findInstance(client, ref);
    if (!found || !isOurs(state, found.value)) return;
    if (state.protected) {
      throw new VisibleError(
        `Refusing to delete instance "${state.name}": it is protected. Set protected: false on it and run up, then remove it.`,
      );
    }
    await refuseMountsBelow(client, ref);
    if (found.value.status !== "Stopped") {
      const stop = { action: "stop", timeout: STOP_TIMEOUT } as const;
      await setInstanceState(client, ref, stop, { deadline: (STOP_TIMEOUT + 15) * 1_000 }).catch(() =>
        setInstanceState(client, ref, { action: "stop", force: true }, { deadline: 60_000 }),
      );
    }
    await refuseMountsBelow(client, ref);
    await deleteInstance(client, ref, { deadline: UPDATE_DEADLINE });
  },
};

export const instance = defineResource(
  "Instance",
  InstanceArgs,
  lifecycle,
  ["name", "ipv4", "uuid"],
  ["environment", "files"],
);
