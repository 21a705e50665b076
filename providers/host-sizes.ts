import { type HostFiles, volumeSegments } from "./host-files.ts";
import type { PoolLook } from "./host-look.ts";
import type { InstanceLook } from "./host-look-instance.ts";

/**
 * Fills in what the containers on `dir` pools and their snapshots occupy, by one du over all of them. Those that are
 * not measured within the deadline (ms) stay unknown.
 */
export async function measureInstances(
  instances: InstanceLook[],
  pools: readonly PoolLook[],
  files: HostFiles,
  deadline: number,
): Promise<void> {
  const dirPools = new Set(pools.filter(({ driver }) => driver === "dir").map(({ name }) => name));
  const wanted = instances.flatMap((instance) => {
    const pool = instance.root?.pool;
    if (pool === undefined || !dirPools.has(pool) || instance.type !== "container") return [];
    const segments = volumeSegments(pool, instance.project, instance.name);
    const [parent, name, , volume] = segments;
    const snapshots = [parent ?? "", name ?? "", "containers-snapshots", volume ?? ""];
    return [{ instance, volume: files.daemonPath(...segments), snapshots: files.daemonPath(...snapshots) }];
  });
  const paths = wanted.flatMap(({ instance, volume, snapshots }) =>
    instance.snapshots.length > 0 ? [volume, snapshots] : [volume],
  );
  const sizes = await files.measure(paths, deadline);
  for (const { instance, volume, snapshots } of wanted) {
    instance.bytes = sizes.get(volume) ?? null;
    instance.snapshotBytes = instance.snapshots.length > 0 ? (sizes.get(snapshots) ?? null) : 0;
  }
}
