import { type HostFiles, volumeSegments } from "./files.ts";
import type { PoolLook } from "./look.ts";
import type { InstanceLook } from "./look-instance.ts";

/**
 * Fills in what the containers on `dir` pools occupy, and those on `btrfs` pools that are to move, by one du over all of
 * them. Those that are not measured within the deadline (ms) stay unknown. On `btrfs` blocks that are shared with the
 * image count, and snapshots stay unknown: most of their blocks are the container's.
 */
export async function measureInstances(
  instances: InstanceLook[],
  pools: readonly PoolLook[],
  files: HostFiles,
  moving: readonly { project: string; name: string }[],
  deadline: number,
): Promise<void> {
  const drivers = new Map(pools.map(({ name, driver }) => [name, driver]));
  const wanted = instances.flatMap((instance) => {
    const driver = drivers.get(instance.root?.pool ?? "");
    const moves = moving.some(({ project, name }) => project === instance.project && name === instance.name);
    if (!(driver === "dir" || (driver === "btrfs" && moves)) || instance.type !== "container") return [];
    const segments = volumeSegments(instance.root?.pool ?? "", instance.project, instance.name);
    const [parent, name, , directory] = segments;
    const snapshots = [parent ?? "", name ?? "", "containers-snapshots", directory ?? ""];
    const volume = files.daemonPath(...segments);
    const hasSnapshots = driver === "dir" && instance.snapshots.length > 0;
    return [{ instance, driver, volume, snapshots: hasSnapshots ? files.daemonPath(...snapshots) : null }];
  });
  const paths = wanted.flatMap(({ volume, snapshots }) =>
    snapshots === null ? [volume] : [volume, snapshots],
  );
  const sizes = await files.measure(paths, deadline);
  for (const { instance, driver, volume, snapshots } of wanted) {
    // Where there are quotas, Incus has said it.
    if (driver === "dir" || instance.bytes === null) instance.bytes = sizes.get(volume) ?? null;
    if (snapshots !== null) instance.snapshotBytes = sizes.get(snapshots) ?? null;
    else if (instance.snapshots.length === 0) instance.snapshotBytes = 0;
  }
}
