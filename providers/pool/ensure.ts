import { incusSize } from "../common/bytes.ts";
import { VisibleError } from "../common/errors.ts";
import { openHostFiles } from "../host/files.ts";
import { lookAtHost } from "../host/look-at-host.ts";
import { checkServer } from "../incus/admission.ts";
import type { IncusClient } from "../incus/client.ts";
import { createPool, findPool, listPools, patchPool } from "../incus/pools.ts";
import { listProfiles } from "../incus/profiles.ts";
import { rootDisk } from "../incus/root-disk.ts";
import type { StoragePool as LivePool } from "../incus/schemas.ts";
import { getServer } from "../incus/server.ts";
import { shared } from "../incus/shared.ts";
import { OWNER_KEY, RELEASED_KEY } from "../marks/keys.ts";
import { isReleased, ownershipOf } from "../marks/ownership.ts";
import { progressFor } from "../pulumi/progress.ts";
import { poolBlockers } from "./contents.ts";
import { decidePool, type PoolDecision, reasonOf } from "./decision.ts";
import { poolFactsOf } from "./facts.ts";
import { growPool } from "./growth.ts";
import type { StoragePoolArgs, StoragePoolState } from "./pool-args.ts";
import { checkLeftovers, probeDriver, probeFreeBytes } from "./preflight.ts";
import { finishRecreation, recreatePool } from "./recreation.ts";
import { endRecreation, findRecreation } from "./recreation-journal.ts";
import { checkSourceDirectory } from "./source.ts";
import { type PoolWorld, type SettledWish, settleWish } from "./wish.ts";

/** Milliseconds for the look before a decision. */
export const LOOK_DEADLINE = 60_000;

/** The args with the real name of the pool that they mean on this host. */
export async function settled<A extends StoragePoolArgs>(
  args: A,
  client: IncusClient,
): Promise<SettledWish<A>> {
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

export function markedPool({ name, driver, config }: LivePool): PoolWorld["pools"][number] {
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

/** An error about a pool that stays as it is. */
export function refusal(args: StoragePoolArgs, verb: string, reason: string, remedy: string): VisibleError {
  return new VisibleError(`Refusing to ${verb} pool "${args.name}": ${reason}. ${remedy}`);
}

async function create(
  args: StoragePoolArgs,
  client: IncusClient,
  { driver, size }: Extract<PoolDecision, { action: "create" }>,
): Promise<void> {
  const files = await openHostFiles(client);
  await checkLeftovers(files, args.name);
  await checkSourceDirectory(client, args.source);
  if (!files && driver !== "dir") await probeDriver(client, driver);
  progressFor(args.host.name, `pool ${args.name}`)(`creating ${driver} pool`);
  await createPool(client, {
    name: args.name,
    driver,
    description: args.description ?? "",
    config: {
      ...(args.source === "loop" || driver === "dir" ? {} : { source: args.source }),
      ...(size === undefined ? {} : { size: incusSize(size) }),
      [OWNER_KEY]: args.owner,
    },
  });
}

/** Looks, decides, acts. A recreation that was interrupted is finished first. */
export async function ensure(
  given: StoragePoolArgs,
  client: IncusClient,
  expected?: string,
): Promise<StoragePoolState> {
  await checkServer(client, await getServer(client));
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
      await checkSourceDirectory(client, args.source);
      const { driver, size } = decision;
      await recreatePool(client, { ...args, driver, size }, await openHostFiles(client), progress);
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

async function observe(
  args: StoragePoolArgs,
  client: IncusClient,
  pool: string,
  action: PoolDecision["action"],
): Promise<StoragePoolState> {
  const found = await findPool(client, pool);
  if (!found) throw new VisibleError(`Pool "${pool}" vanished while it was worked on. Run up again.`);
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
