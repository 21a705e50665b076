import { cowName } from "../common/names.ts";
import type { HostLook, PoolLook } from "../host/look.ts";
import { parseApiUrl } from "../incus/paths.ts";
import { qualifiedName } from "../incus/root-disk.ts";
import type { PoolWorld } from "./choice.ts";
import { isCopyOnWrite, type PoolContents, type PoolFacts, type PoolWish, poolBlockers } from "./decision.ts";

/** What `settleWish` needs to know of a host. Pure. */
export function poolWorldOf(look: HostLook): PoolWorld {
  const profile = look.profiles.find(({ name, project }) => name === "default" && project === "default");
  const root = Object.values(profile?.disks ?? {}).find((disk) => disk["path"] === "/" && disk["pool"]);
  return { pools: look.pools, rootPool: root?.["pool"] ?? null };
}

/** What `decidePool` needs to know of one pool, from a look at its host. Pure. */
export function poolFactsOf(look: HostLook, wish: PoolWish): PoolFacts {
  const pool = look.pools.find(({ name }) => name === wish.name);
  const original = look.pools.find(({ name }) => name === wish.insteadOf);
  return {
    pool: pool && {
      driver: pool.driver,
      status: pool.status,
      sizes: pool.sizes,
      contents: poolContents(look, pool),
    },
    isRecreating: look.recreations?.includes(wish.name),
    namesake: look.pools.find(
      ({ name }) => name !== wish.name && name.toLowerCase() === wish.name.toLowerCase(),
    )?.name,
    original: original && { driver: original.driver },
    hasCowTwin: look.pools.some(({ name, driver }) => name === cowName(wish.name) && isCopyOnWrite(driver)),
    usableDrivers: look.usableDrivers,
    // A loop file behind a symlink may be on another file system than Incus' directory.
    hostFreeBytes: pool?.loopFreeBytes ?? look.hostFreeBytes,
    strays: look.strays.filter(
      (path) => path === `disks/${wish.name}.img` || path === `storage-pools/${wish.name}`,
    ),
    unprivileged: look.unprivileged === true,
  };
}

/** Everything on a pool, in all projects, by every sign there is: devices, volumes, buckets, and the pool's own `used_by`. */
export function poolContents(look: HostLook, pool: PoolLook): PoolContents {
  const instances = new Set<string>();
  const snapshots = new Set<string>();
  const customVolumes = new Set<string>();
  const buckets = new Set(pool.buckets.map(qualifiedName));
  const profiles = new Set<string>();
  for (const instance of look.instances) {
    if (
      !Object.values(instance.devices).some(({ type, keys }) => type === "disk" && keys["pool"] === pool.name)
    )
      continue;
    instances.add(qualifiedName(instance));
    if (instance.root?.pool !== pool.name) continue;
    for (const name of instance.snapshots) snapshots.add(`${qualifiedName(instance)}/${name}`);
  }
  for (const volume of pool.volumes)
    (volume.type === "custom" ? customVolumes : instances).add(qualifiedName(volume));
  for (const snapshot of pool.volumeSnapshots) snapshots.add(qualifiedName(snapshot));
  for (const profile of look.profiles) {
    if (Object.values(profile.disks).some((disk) => disk["pool"] === pool.name))
      profiles.add(qualifiedName(profile));
  }
  // Whatever else Incus itself says keeps the pool in use must not be overlooked.
  for (const url of pool.usedBy) {
    const { kind, segments, project } = parseApiUrl(url);
    const [name = "", , inner = ""] = segments;
    if (kind === "images") continue;
    if (kind === "profiles") profiles.add(qualifiedName({ project, name }));
    else if (kind === "instances" && inner !== "")
      snapshots.add(`${qualifiedName({ project, name })}/${inner}`);
    else if (kind === "instances") instances.add(qualifiedName({ project, name }));
    else if (kind === "storage-pools") addVolume(segments, project, { customVolumes, buckets });
    else customVolumes.add(url);
  }
  return {
    instances: [...instances].sort(),
    snapshots: [...snapshots].sort(),
    customVolumes: [...customVolumes].sort(),
    buckets: [...buckets].sort(),
    daemonVolumes: look.daemonVolumes
      .filter((one) => one.pool === pool.name)
      .map(({ setting, volume }) => `${setting} (volume ${volume})`),
    profiles: [...profiles].sort(),
    // Without sight of the pool's settings this caller may not see all projects either: nothing is proven empty.
    leftovers: pool.visible ? pool.leftovers : null,
  };
}

/** Everything that keeps a pool from being deleted, for people: {@link poolBlockers}, and the profiles that name it. */
export function poolHolds(contents: PoolContents): string[] {
  return [...poolBlockers(contents), ...contents.profiles.map((name) => `profile ${name}`)];
}

/** A URL below the pool: `<pool>/volumes/<type>/<name>[/snapshots/<snapshot>]` or `<pool>/buckets/<name>`. */
function addVolume(
  [, kind = "", ...rest]: string[],
  project: string,
  { customVolumes, buckets }: { customVolumes: Set<string>; buckets: Set<string> },
): void {
  const [first = "", second = ""] = rest;
  if (kind === "buckets") buckets.add(qualifiedName({ project, name: first }));
  else if (kind === "volumes" && first === "image") return;
  else customVolumes.add(qualifiedName({ project, name: kind === "volumes" ? second : rest.join("/") }));
}
