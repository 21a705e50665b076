import {
  type HostLook,
  imageStore,
  networkUsers,
  type PoolLook,
  poolContents,
  poolHolds,
  qualifiedName,
} from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";
import type { OwnerOf } from "./agents.ts";
import { bridgeWish } from "./bridge-wish.ts";
import { type Action, type Findings, noFindings } from "./types.ts";

const LEFT_CONFIG = "this stack made it and the config no longer names it";

/**
 * Pools, bridges and images that this stack made and the config no longer names, by the rules of their providers'
 * `delete`: what is still in use is left in place, for good. What the plan takes away itself is no use of them any more.
 * @param pools names of the pools that the config means
 */
export function planRemovedObjects(
  host: HostConfig,
  look: HostLook,
  owner: OwnerOf,
  { pools, actions }: { pools: readonly string[]; actions: readonly Action[] },
): Findings {
  const findings = noFindings();
  const deleted = containersDeletedBy(actions);
  for (const pool of look.pools)
    if (pool.owner === owner(pool.name) && !pool.released && !pools.includes(pool.name))
      removeUnused(findings, "delete-pool", `pool ${pool.name}`, contentsAfter(look, pool, actions));
  for (const { name, owner: mark, released, usedBy = [] } of look.networks)
    if (mark === owner(name) && !released && name !== bridgeWish(host).name) {
      const users = networkUsers(usedBy).filter((user) => !deleted.has(user));
      removeUnused(findings, "delete-network", `network ${name}`, users);
    }
  for (const alias of removedAliases(host, look, owner))
    findings.actions.push({
      kind: "delete-image",
      object: `image ${alias}`,
      detail: alias,
      reason: `${LEFT_CONFIG}; an image goes with the last of its aliases`,
    });
  return findings;
}

function removeUnused(
  findings: Findings,
  kind: "delete-pool" | "delete-network",
  object: string,
  users: readonly string[],
): void {
  if (users.length === 0) findings.actions.push({ kind, object, reason: LEFT_CONFIG });
  else findings.remarks.push(`${object} is left in place: ${LEFT_CONFIG}, but it holds ${users.join(", ")}`);
}

/** Qualified names of the containers that these actions delete. */
function containersDeletedBy(actions: readonly Action[]): Set<string> {
  const deleting = actions.filter(({ kind }) => kind === "delete-agent" || kind === "remove-parked");
  return new Set(deleting.flatMap(({ container }) => container ?? []));
}

/** What is on a pool or names it once these actions are done; a re-pointed profile names it by its root disk no more. */
function contentsAfter(look: HostLook, pool: PoolLook, actions: readonly Action[]): string[] {
  const deleted = containersDeletedBy(actions);
  const repointed = new Set(
    actions.filter(({ kind }) => kind === "repoint-profile").map(({ object }) => object),
  );
  const contents = poolContents(look, pool);
  const isKept = (name: string): boolean => !deleted.has(name);
  return poolHolds({
    ...contents,
    instances: contents.instances.filter(isKept),
    snapshots: contents.snapshots.filter((name) => isKept(name.slice(0, name.lastIndexOf("/")))),
    profiles: contents.profiles.filter((name) => {
      const profile = look.profiles.find((one) => qualifiedName(one) === name);
      const disks = Object.values(profile?.disks ?? {}).filter((disk) => disk["pool"] === pool.name);
      return !repointed.has(`profile ${name}`) || disks.some((disk) => disk["path"] !== "/");
    }),
  });
}

/**
 * Aliases of images that this stack imported: the mark on an image names the alias it was imported under. A further
 * alias of the same image may have been put there by hand, so nothing is said of it.
 */
function removedAliases(host: HostConfig, look: HostLook, owner: OwnerOf): string[] {
  const project = imageStore(look.projects, host.project);
  return look.images
    .filter((image) => image.project === project)
    .flatMap(({ owner: mark = "", aliases }) => aliases.filter((alias) => mark === owner(alias)))
    .filter((alias) => host.images.every((wanted) => wanted.alias !== alias));
}
