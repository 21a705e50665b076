import {
  type HostLook,
  imageStore,
  networkUsers,
  type PoolLook,
  poolContents,
  poolHolds,
  qualifiedName,
} from "@taos-hosts/providers";
import type { Scene } from "./scene.ts";
import { bridgeWish } from "./wishes.ts";

const LEFT_CONFIG = "this stack made it and the config no longer names it";

/**
 * Pools, bridges and images that this stack made and the config no longer names, by the rules of their providers'
 * `delete`: what is still in use is left in place, for good. What the plan takes away itself is no use of them any
 * more: the rest of it is in the findings by then.
 * @param pools names of the pools that the config means
 * @param repointed qualified names of profiles whose root disk goes to another pool
 */
export function planRemovedObjects(
  scene: Scene,
  pools: readonly string[],
  repointed: ReadonlySet<string>,
): void {
  const { host, look, owner, findings } = scene;
  const removeUnused = (
    kind: "delete-pool" | "delete-network",
    object: string,
    users: readonly string[],
  ): void => {
    if (users.length === 0) findings.act(kind, { object }, LEFT_CONFIG);
    else
      findings.remarks.push(`${object} is left in place: ${LEFT_CONFIG}, but it holds ${users.join(", ")}`);
  };
  const deleting = findings.actions.filter(({ kind }) => kind === "delete-agent" || kind === "remove-parked");
  const deleted = new Set(deleting.map(({ container }) => container));
  for (const pool of look.pools)
    if (pool.owner === owner(pool.name) && !pool.released && !pools.includes(pool.name))
      removeUnused("delete-pool", `pool ${pool.name}`, contentsAfter(look, pool, deleted, repointed));
  for (const { name, owner: mark, released, usedBy = [] } of look.networks)
    if (mark === owner(name) && !released && name !== bridgeWish(host).name) {
      const users = networkUsers(usedBy).filter((user) => !deleted.has(user));
      removeUnused("delete-network", `network ${name}`, users);
    }
  for (const alias of removedAliases(scene)) {
    const reason = `${LEFT_CONFIG}; an image goes with the last of its aliases`;
    findings.act("delete-image", { object: `image ${alias}` }, reason, { detail: alias });
  }
}

/** What is on a pool or names it once the plan is done; a re-pointed profile names it by its root disk no more. */
function contentsAfter(
  look: HostLook,
  pool: PoolLook,
  deleted: ReadonlySet<string | undefined>,
  repointed: ReadonlySet<string>,
): string[] {
  const contents = poolContents(look, pool);
  return poolHolds({
    ...contents,
    instances: contents.instances.filter((name) => !deleted.has(name)),
    snapshots: contents.snapshots.filter((name) => !deleted.has(name.slice(0, name.lastIndexOf("/")))),
    profiles: contents.profiles.filter((name) => {
      const profile = look.profiles.find((one) => qualifiedName(one) === name);
      const disks = Object.values(profile?.disks ?? {}).filter((disk) => disk["pool"] === pool.name);
      return !repointed.has(name) || disks.some((disk) => disk["path"] !== "/");
    }),
  });
}

/**
 * Aliases of images that this stack imported: the mark on an image names the alias it was imported under. A further
 * alias of the same image may have been put there by hand, so nothing is said of it.
 */
function removedAliases({ host, look, owner }: Scene): string[] {
  const project = imageStore(look.projects, host.project);
  return look.images
    .filter((image) => image.project === project)
    .flatMap(({ owner: mark = "", aliases }) => aliases.filter((alias) => mark === owner(alias)))
    .filter((alias) => host.images.every((wanted) => wanted.alias !== alias));
}
