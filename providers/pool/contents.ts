import type { HostLook, PoolLook } from "../host/look.ts";
import { parseApiUrl } from "../incus/paths.ts";
import { qualifiedName } from "../incus/root-disk.ts";

/** What is on a pool, in all projects. Names are `name`, or `project/name` outside project `default`. */
export interface PoolContents {
  instances: string[];
  /** `instance/snapshot`, counted apart because a snapshot can outlive the notion that a pool is empty. */
  snapshots: string[];
  customVolumes: string[];
  buckets: string[];
  /** Daemon settings that keep a volume here: `storage.backups_volume`, `storage.images_volume`. */
  daemonVolumes: string[];
  /** Profiles with a disk device naming the pool; they block a deletion but are no content. */
  profiles: string[];
  /** Paths on disk that the database does not know; null where the host's files cannot be read. */
  leftovers: string[] | null;
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

/** Everything that makes a pool not empty, readable; empty array: nothing on it. Unknown leftovers count as none here. */
export function poolBlockers(contents: PoolContents): string[] {
  return [
    ...contents.instances,
    ...contents.snapshots.map((name) => `snapshot ${name}`),
    ...contents.customVolumes.map((name) => `volume ${name}`),
    ...contents.buckets.map((name) => `bucket ${name}`),
    ...contents.daemonVolumes.map((name) => `daemon setting ${name}`),
    ...(contents.leftovers ?? []).map((path) => `files unknown to the database: ${path}`),
  ];
}

/** Everything that keeps a pool from being deleted, for people: {@link poolBlockers}, and the profiles that name it. */
export function poolHolds(contents: PoolContents): string[] {
  return [...poolBlockers(contents), ...contents.profiles.map((name) => `profile ${name}`)];
}
