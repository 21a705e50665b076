import { VisibleError } from "../common/errors.ts";
import { refuseMountsBelow } from "../host/foreign-mounts.ts";
import type { IncusClient } from "../incus/client.ts";
import { deleteInstance, findInstance, listInstances, setInstanceState } from "../incus/instances.ts";
import { shared } from "../incus/shared.ts";
import { IMAGE_KEY, STAGE_KEY } from "../marks/keys.ts";
import { parkedNamesOf } from "../parking/parked.ts";
import { isMoveWanted, NO_OPT_INS, whereaboutsOf } from "../placement/placement.ts";
import { defineResource } from "../pulumi/definition.ts";
import { changedFields } from "../pulumi/drift.ts";
import type { Lifecycle } from "../pulumi/lifecycle.ts";
import { driftOf } from "./changes.ts";
import { InstanceArgs } from "./config.ts";
import { leasedAddress } from "./readiness.ts";
import { isBeingReplaced } from "./replacement.ts";
import { type InstanceState, isOurs, NOT_ON_HOST, REPLACING_ARGS, replacingFields } from "./state.ts";
import { createInstance, updateInstance } from "./update.ts";

const DELETE_DEADLINE = 120_000;
/** An instance that is being deleted gets this long to stop, in seconds; then it is killed. */
const STOP_TIMEOUT = 30;

/** Of an instance that no opt-in asks to move. */
const NOWHERE = { pool: "", inheritsRoot: false };

/** A state with where the instance is, for the next comparison with its opt-ins. */
async function located(state: InstanceState, client: IncusClient): Promise<InstanceState> {
  return state.placement ? { ...state, where: whereaboutsOf(await listInstances(client), state) } : state;
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
    return { id: args.name, state: await located(await createInstance(args, client), client) };
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
    return located(await updateInstance(state, args, client), client);
  },

  async delete(_id, state, client) {
    const found = await findInstance(client, state);
    if (!found || !isOurs(state, found.value)) return;
    if (state.protected) {
      throw new VisibleError(
        `Refusing to delete instance "${state.name}": it is protected. Set protected: false on it and run up, then remove it.`,
      );
    }
    await refuseMountsBelow(client, state);
    if (found.value.status !== "Stopped") {
      const stop = { action: "stop", timeout: STOP_TIMEOUT } as const;
      await setInstanceState(client, state, stop, { deadline: (STOP_TIMEOUT + 15) * 1_000 }).catch(() =>
        setInstanceState(client, state, { action: "stop", force: true }, { deadline: 60_000 }),
      );
    }
    await refuseMountsBelow(client, state);
    await deleteInstance(client, state, { deadline: DELETE_DEADLINE });
  },
};

export const instance = defineResource(
  "Instance",
  InstanceArgs,
  lifecycle,
  ["name", "ipv4", "uuid"],
  ["environment", "files"],
);
