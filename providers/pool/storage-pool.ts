import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { incusSize } from "../common/bytes.ts";
import { VisibleError } from "../common/errors.ts";
import { PoolName } from "../common/names.ts";
import { openHostFiles } from "../host/files.ts";
import { lookAtHost } from "../host/look-at-host.ts";
import { readPoolSizes } from "../host/pool-sizes.ts";
import type { IncusClient, Versioned } from "../incus/client.ts";
import { withLock } from "../incus/lock.ts";
import { createPool, deletePool, findPool, listPools, patchPool } from "../incus/pools.ts";
import { listProfiles } from "../incus/profiles.ts";
import { rootDisk } from "../incus/root-disk.ts";
import type { StoragePool as LivePool } from "../incus/schemas.ts";
import { shared } from "../incus/shared.ts";
import { OWNER_KEY, RELEASED_KEY } from "../marks/keys.ts";
import { isReleased, ownershipOf } from "../marks/ownership.ts";
import { changedFields, configDrift } from "../pulumi/drift.ts";
import { progressFor } from "../pulumi/progress.ts";
import {
  CommonArgs,
  type CommonState,
  dynamicProvider,
  type InputsOf,
  type Lifecycle,
} from "../pulumi/resource.ts";
import { shim } from "../pulumi/shim.ts";
import { poolBlockers, poolHolds } from "./contents.ts";
import { decidePool, type PoolDecision, reasonOf } from "./decision.ts";
import { isCopyOnWrite } from "./drivers.ts";
import { poolFactsOf } from "./facts.ts";
import { decideGrowth, growPool } from "./growth.ts";
import { LEAST_LOOP_SIZE } from "./loop-size.ts";
import { checkLeftovers, checkServer, probeDriver, probeFreeBytes } from "./preflight.ts";
import { finishRecreation, recreatePool } from "./recreation.ts";
import { endRecreation, findRecreation } from "./recreation-journal.ts";
import { checkSourceDirectory, strangersIn } from "./source.ts";
import { type PoolWorld, type SettledWish, servingPool, settleWish } from "./wish.ts";

const LOOK_DEADLINE = 60_000;

/**
 * A storage pool of this name, driver and source with at least this size exists. Creates it, adopts a fitting one,
 * grows it, recreates an empty `dir` pool under the same name. A pool with anything on it is never deleted.
 *
 * @example
 * new StoragePool("orange-1/default", { host, owner, name: "default" });
 * @example
 * new StoragePool("orange-1/default", { host, owner, name: "default", driver: "btrfs", source: "/dev/nvme0n1p3" });
 */
export const StoragePoolArgs = CommonArgs.extend({
  name: PoolName,
  /** @default "auto": btrfs wherever the host can, zfs only where it cannot and zfs is there */
  driver: z.enum(["auto", "btrfs", "zfs", "dir"]).default("auto"),
  /** `loop`, a block device `/dev/…`, or a path on btrfs outside Incus' directory. @default "loop" */
  source: z
    .string()
    .regex(/^(loop|\/[^\0]+)$/, "must be loop, a block device or an absolute path")
    .refine((path) => !/^\/var\/lib\/incus(\/|$)/.test(path), "must not be inside /var/lib/incus")
    .default("loop"),
  /** Bytes. @default 50 GiB, or 60 % of what is free on the host if that is less */
  size: z.number().int().min(LEAST_LOOP_SIZE, "must be at least 5 GiB").optional(),
  description: z.string().optional(),
  /** Use this pool itself where it is copy-on-write already; set on the second pool of a migration. */
  insteadOf: PoolName.optional(),
  /**
   * The config names no pool: where the default profile's root disk is on another pool than `name`, that one serves,
   * used or left as it is; with `insteadOf`, the second pool is that one's. @default false
   */
  isUnnamed: z.boolean().default(false),
});
export type StoragePoolArgs = z.infer<typeof StoragePoolArgs>;

interface StoragePoolState extends StoragePoolArgs, CommonState {
  /** Name of the pool that serves. */
  pool: string;
  effectiveDriver: string;
  /** True where the pool was there before: then it is never deleted. */
  adopted: boolean;
  /** True for a `dir` pool with content: nothing is written to this host beyond what an opt-in names. */
  left: boolean;
  drift: string[];
  /** What a run would do by these args; the plan's word counts for more, since args may have changed since. */
  due?: string[];
}

/** Decisions that write something. */
const WRITING: readonly string[] = ["create", "recreate", "grow"] satisfies PoolDecision["action"][];

/** The args with the real name of the pool that they mean on this host. */
async function settled<A extends StoragePoolArgs>(args: A, client: IncusClient): Promise<SettledWish<A>> {
  if (!args.isUnnamed) return args;
  const [pools, profiles] = await Promise.all([
    shared(client, "pools", listPools),
    shared(client, "profiles", listProfiles),
  ]);
  const profile = profiles.find(({ name, project }) => name === "default" && project === "default");
  return settleWish(
    args,
    { pools: pools.map(markedPool), rootPool: rootDisk(profile?.devices ?? {})?.pool ?? null },
    args.owner,
  );
}

function markedPool({ name, driver, config }: LivePool): PoolWorld["pools"][number] {
  return { name, driver, owner: config?.[OWNER_KEY] ?? null };
}

async function decide(args: SettledWish<StoragePoolArgs>, client: IncusClient): Promise<PoolDecision> {
  const look = await lookAtHost(client, { deadline: LOOK_DEADLINE, sizes: false });
  const facts = poolFactsOf(look, args);
  const first = decidePool(args, facts);
  const makesLoop =
    (first.action === "create" || first.action === "recreate") &&
    args.source === "loop" &&
    first.driver !== "dir";
  if (!makesLoop || facts.hostFreeBytes !== null) return first;
  return decidePool(args, { ...facts, hostFreeBytes: await probeFreeBytes(client) });
}

function refusal(args: StoragePoolArgs, verb: string, reason: string, remedy: string): VisibleError {
  return new VisibleError(`Refusing to ${verb} pool "${args.name}": ${reason}. ${remedy}`);
}

async function create(
  args: StoragePoolArgs,
  client: IncusClient,
  decision: Extract<PoolDecision, { action: "create" }>,
): Promise<void> {
  const files = await openHostFiles(client);
  await checkLeftovers(files, args.name);
  await checkSourceDirectory(client, args.source);
  const { driver } = decision;
  if (!files && driver !== "dir") await probeDriver(client, driver);
  progressFor(args.host.name, `pool ${args.name}`)(`creating ${driver} pool`);
  await createPool(client, {
    name: args.name,
    driver,
    description: args.description ?? "",
    config: {
      ...(args.source === "loop" || driver === "dir" ? {} : { source: args.source }),
      ...(decision.size === undefined ? {} : { size: incusSize(decision.size) }),
      [OWNER_KEY]: args.owner,
    },
  });
}

/** Looks, decides, acts. A recreation that was interrupted is finished first. */
async function ensure(
  given: StoragePoolArgs,
  client: IncusClient,
  expected?: string,
): Promise<StoragePoolState> {
  await checkServer(client);
  const args = await settled(given, client);
  const progress = progressFor(args.host.name, `pool ${args.name}`);
  const unfinished = await findRecreation(client, args.name);
  if (unfinished && (await isStillToRecreate(args, client))) {
    progress("an interrupted recreation is finished");
    await finishRecreation(client, args.name, unfinished, await openHostFiles(client), progress);
  } else if (unfinished) {
    progress("an interrupted recreation is taken back: the dir pool is wanted, or no longer proven empty");
    await endRecreation(client, args.name, unfinished);
  }
  const decision = await decide(args, client);
  const differs = expected !== undefined && expected !== decision.action && !unfinished;
  if (differs) {
    throw refusal(
      args,
      "change",
      `the plan was to ${expected} it, but now ${decision.action} fits (${reasonOf(decision)})`,
      "The host changed meanwhile; look at a new preview.",
    );
  }
  switch (decision.action) {
    case "create":
      await create(args, client, decision);
      break;
    case "recreate": {
      const { driver, size } = decision;
      const { name, source, owner } = args;
      await checkSourceDirectory(client, source);
      await recreatePool(
        client,
        { name, driver, size, source, owner },
        await openHostFiles(client),
        progress,
      );
      break;
    }
    case "grow":
      progress(`growing ${decision.reason}`);
      await growPool(client, args.name, decision.size);
      break;
    case "leave":
      progress(`left as it is: ${reasonOf(decision)}. ${decision.remedy}`);
      break;
    case "refuse":
      throw refusal(args, "use", reasonOf(decision), decision.remedy);
    case "adopt":
      if (decision.remark !== undefined) progress(decision.remark);
      break;
    case "use-original":
      break;
  }
  const pool = decision.action === "use-original" ? (args.insteadOf ?? args.name) : args.name;
  return observe(given, client, pool, decision.action);
}

/** Since the run that was interrupted, the `dir` pool may have got content: what was proven then is proven again. */
async function isStillToRecreate(args: StoragePoolArgs, client: IncusClient): Promise<boolean> {
  const look = await lookAtHost(client, { deadline: LOOK_DEADLINE, sizes: false });
  const { pool } = poolFactsOf(look, args);
  if (pool?.driver !== "dir") return true;
  return (
    args.driver !== "dir" && pool.contents.leftovers !== null && poolBlockers(pool.contents).length === 0
  );
}

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

async function existing(client: IncusClient, pool: string): Promise<Versioned<LivePool>> {
  const found = await findPool(client, pool);
  if (!found) throw new VisibleError(`Pool "${pool}" vanished while it was worked on. Run up again.`);
  return found;
}

async function observe(
  args: StoragePoolArgs,
  client: IncusClient,
  pool: string,
  action: PoolDecision["action"],
): Promise<StoragePoolState> {
  const found = await existing(client, pool);
  const ours = action !== "use-original" && ownershipOf(found.value.config ?? {}, args.owner) === "ours";
  const change = {
    ...(args.description !== undefined && found.value.description !== args.description
      ? { description: args.description }
      : {}),
    ...(isReleased(found.value.config ?? {}) ? { config: { [RELEASED_KEY]: "" } } : {}),
  };
  if (ours && Object.keys(change).length > 0) await patchPool(client, found, change);
  return {
    ...args,
    pool,
    effectiveDriver: found.value.driver,
    adopted: !ours,
    left: action === "leave",
    drift: [],
  };
}

const lifecycle: Lifecycle<StoragePoolArgs, StoragePoolState> = {
  args: StoragePoolArgs,

  check(args) {
    const failures: { property: string; reason: string }[] = [];
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

export const storagePoolProvider = dynamicProvider("StoragePool", lifecycle);

const provider = shim("StoragePool");

/** See {@link StoragePoolArgs}. */
export class StoragePool extends pulumi.dynamic.Resource {
  /** Name of the pool that serves. */
  declare readonly pool: pulumi.Output<string>;
  declare readonly effectiveDriver: pulumi.Output<string>;
  declare readonly adopted: pulumi.Output<boolean>;
  /** True where the pool is a `dir` pool with content, and so nothing is written to the host without an opt-in. */
  declare readonly left: pulumi.Output<boolean>;

  constructor(name: string, args: InputsOf<typeof StoragePoolArgs>, opts?: pulumi.CustomResourceOptions) {
    super(
      provider,
      name,
      { ...args, pool: undefined, effectiveDriver: undefined, adopted: undefined, left: undefined },
      opts,
      "incus",
      "StoragePool",
    );
  }
}
