import { VisibleError } from "../common/errors.ts";
import { openHostFiles } from "../host/files.ts";
import { lookAtHost } from "../host/look-at-host.ts";
import { readPoolSizes } from "../host/pool-sizes.ts";
import { withLock } from "../incus/lock.ts";
import { deletePool, findPool, listPools, patchPool } from "../incus/pools.ts";
import type { StoragePool as LivePool } from "../incus/schemas.ts";
import { shared } from "../incus/shared.ts";
import { OWNER_KEY, RELEASED_KEY } from "../marks/keys.ts";
import { ownershipOf } from "../marks/ownership.ts";
import { defineResource } from "../pulumi/definition.ts";
import { changedFields, configDrift } from "../pulumi/drift.ts";
import type { CheckFailure, Lifecycle } from "../pulumi/lifecycle.ts";
import { progressFor } from "../pulumi/progress.ts";
import { poolHolds } from "./contents.ts";
import { decidePool, type PoolDecision } from "./decision.ts";
import { isCopyOnWrite } from "./drivers.ts";
import { ensure, LOOK_DEADLINE, markedPool, refusal, settled } from "./ensure.ts";
import { poolFactsOf } from "./facts.ts";
import { decideGrowth } from "./growth.ts";
import { StoragePoolArgs, type StoragePoolState } from "./pool-args.ts";
import { findRecreation } from "./recreation-journal.ts";
import { strangersIn } from "./source.ts";
import { servingPool } from "./wish.ts";

/** Decisions that write something. */
const WRITING: readonly string[] = ["create", "recreate", "grow"] satisfies PoolDecision["action"][];

function servedBy(
  pools: readonly LivePool[],
  pool: string,
  owner: string,
): Pick<StoragePoolState, "pool" | "effectiveDriver" | "adopted"> {
  const live = pools.find(({ name }) => name === pool);
  return {
    pool,
    effectiveDriver: live?.driver ?? "",
    adopted: ownershipOf(live?.config ?? {}, owner) !== "ours",
  };
}

const lifecycle: Lifecycle<StoragePoolArgs, StoragePoolState> = {
  check(args) {
    const failures: CheckFailure[] = [];
    if (args.size !== undefined && args.source !== "loop") {
      failures.push({ property: "size", reason: `pool "${args.name}": size goes with source: loop only` });
    }
    if (args.driver === "dir" && (args.size !== undefined || args.source !== "loop")) {
      failures.push({
        property: "driver",
        reason: `pool "${args.name}": a dir pool has neither size nor source`,
      });
    }
    return failures;
  },

  diff(state, args, expected) {
    if (state.name !== args.name) return { changes: true, replaces: ["name"] };
    if (state.drift.length > 0) return { changes: true };
    if (expected === undefined)
      return { changes: (state.due ?? []).length > 0 || changedFields(state, args).length > 0 };
    if (WRITING.includes(expected) || (expected === "leave") !== state.left) return { changes: true };
    // A size that the pool has already, or cannot get, is no change of anything; nor is any word on one that is left.
    if (state.left) return { changes: false };
    return { changes: changedFields(state, args, ["size", "isUnnamed"]).length > 0 };
  },

  async create(args, client, expected) {
    const id = args.name;
    return { id, state: await withLock(`pool:${client.key}`, () => ensure(args, client, expected)) };
  },

  async read(_id, kept, client) {
    const pools = await shared(client, "pools", listPools);
    const wish = await settled(kept, client);
    // Which pool an unnamed one is, the host says: a profile may have been re-pointed meanwhile.
    const serving = servingPool(wish, pools.map(markedPool));
    const state =
      kept.isUnnamed && serving !== kept.pool && pools.some(({ name }) => name === serving)
        ? { ...kept, ...servedBy(pools, serving, kept.owner) }
        : kept;
    const live = pools.find(({ name }) => name === state.pool);
    // A pool that is gone took its content along: that is reported, never papered over with a new one.
    if (!live) return { ...state, drift: [`pool ${state.pool} is missing`] };
    const drift: string[] = [];
    const due: string[] = [];
    if (live.status !== "Created" && live.status !== "")
      drift.push(`pool ${state.pool} is ${live.status.toLowerCase()}`);
    if (live.driver !== state.effectiveDriver)
      drift.push(`driver is ${live.driver}, not ${state.effectiveDriver}`);
    if (state.size !== undefined && state.pool === wish.name && isCopyOnWrite(live.driver)) {
      const sizes = await readPoolSizes(client, live, await openHostFiles(client));
      const { name, driver } = live;
      const growth = decideGrowth(state.size, { name, driver, sizes, hostFreeBytes: null });
      if (growth.action === "grow") due.push(`it can grow ${growth.reason}`);
    }
    if (live.driver === "dir" && state.driver !== "dir") {
      const look = await shared(client, "look", () =>
        lookAtHost(client, { deadline: LOOK_DEADLINE, sizes: false }),
      );
      const decision = decidePool(wish, poolFactsOf(look, wish));
      if (decision.action !== "leave" && decision.action !== "refuse")
        due.push(`${decision.action}: ${decision.reason}`);
    }
    if (!state.adopted) {
      drift.push(...configDrift({ [OWNER_KEY]: state.owner }, live.config ?? {}));
      if (state.description !== undefined && live.description !== state.description)
        drift.push("description differs");
    }
    // States of before 0.1 have no such field.
    return { ...state, left: state.left ?? false, drift, due };
  },

  async update(_id, state, args, client, expected) {
    return withLock(`pool:${client.key}`, async () => {
      const found = await findPool(client, state.pool);
      const wish = await settled(args, client);
      const isReplaced = wish.name !== state.pool && (await findPool(client, wish.name)) !== undefined;
      if (!found && !isReplaced && !(await findRecreation(client, wish.name))) {
        throw new VisibleError(
          `Pool "${state.pool}" was there and is missing now; nothing was created in its place. If it was lost, bring its disk back (incus admin recover). If it was deleted on purpose, forget it with: pulumi state delete <urn> --target-dependents, and run up again.`,
        );
      }
      if (found && state.source !== args.source) {
        throw refusal(
          args,
          "change",
          `its source is ${state.source} and cannot be changed to ${args.source}`,
          "Set it back, or name a new pool.",
        );
      }
      if (found && !state.adopted) {
        const mark = { [OWNER_KEY]: args.owner };
        if (configDrift(mark, found.value.config ?? {}).length > 0)
          await patchPool(client, found, { config: mark });
      }
      return ensure(args, client, expected);
    });
  },

  async delete(_id, state, client) {
    if (state.adopted) return;
    const { pool: name } = state;
    await withLock(`pool:${client.key}`, async () => {
      const found = await findPool(client, name);
      if (!found || ownershipOf(found.value.config ?? {}, state.owner) !== "ours") return;
      const look = await lookAtHost(client, { deadline: LOOK_DEADLINE, sizes: false });
      const contents = poolFactsOf(look, { ...state, name }).pool?.contents;
      const pool = look.pools.find((one) => one.name === name);
      const holds = [
        ...(contents ? poolHolds(contents) : []),
        ...(pool ? await strangersIn(client, pool, state.source) : []),
      ];
      if (holds.length > 0) {
        progressFor(state.host.name, `pool ${name}`)(`left in place: it holds ${holds.join(", ")}`);
        await patchPool(client, found, { config: { [RELEASED_KEY]: "true" } });
        return;
      }
      await deletePool(client, name);
    });
  },
};

export const storagePool = defineResource("StoragePool", StoragePoolArgs, lifecycle, [
  "pool",
  "effectiveDriver",
  "adopted",
  "left",
]);
