import { VisibleError } from "../common/errors.ts";
import type { IncusClient } from "../incus/client.ts";
import { findInstance, type InstanceRef } from "../incus/instances.ts";
import { rootDisk } from "../incus/root-disk.ts";
import { type HostFiles, openHostFiles, volumeSegments } from "./files.ts";

/**
 * Mount points of the host below the volume of an instance or below its snapshots. Nothing that Incus makes: somebody
 * has mounted something into the root from outside, and a copy would take its files along, a deletion would empty it.
 * @param mounts what `HostFiles.mounts` gave
 */
export function foreignMounts(
  files: Pick<HostFiles, "daemonPath">,
  mounts: readonly string[],
  pool: string,
  ref: InstanceRef,
): string[] {
  const [pools = "", name = "", containers = "", volume = ""] = volumeSegments(pool, ref.project, ref.name);
  const below = [containers, `${containers}-snapshots`].map(
    (kind) => `${files.daemonPath(pools, name, kind, volume)}/`,
  );
  return mounts.filter((mount) => below.some((path) => mount.startsWith(path)));
}

/** Why an instance with mounts below its root is neither copied nor deleted, and the way out. */
export function mountsRefusal(mounts: readonly string[]): { reason: string; remedy: string } {
  const [first = ""] = mounts;
  const others = mounts.length > 1 ? ` and ${mounts.length - 1} more` : "";
  return {
    reason: `something that is not its own is mounted below its root at ${first}${others}, and would be copied or deleted with it`,
    remedy: `Unmount it on the host (umount ${first}), or make it a disk device of the container (incus config device add), then run again.`,
  };
}

/**
 * Refuses where something is mounted below one of the volumes, by the daemon's own mount table at this moment.
 * @param act what is refused, for example `migrate "mary"`
 * @throws VisibleError that names the mount
 */
export async function refuseForeignMounts(
  files: HostFiles,
  volumes: readonly { pool: string; ref: InstanceRef }[],
  act: string,
): Promise<void> {
  const mounts = await files.mounts();
  for (const { pool, ref } of volumes) {
    const found = foreignMounts(files, mounts, pool, ref);
    if (found.length === 0) continue;
    const { reason, remedy } = mountsRefusal(found);
    throw new VisibleError(`Refusing to ${act}: ${reason}. ${remedy}`);
  }
}

/**
 * The same before an instance is deleted. Where the host's files cannot be reached from here nothing can be said, and
 * nothing is refused.
 */
export async function refuseMountsBelow(client: IncusClient, ref: InstanceRef): Promise<void> {
  const [files, found] = await Promise.all([openHostFiles(client), findInstance(client, ref)]);
  const pool = found && rootDisk(found.value.expanded_devices)?.pool;
  if (files && pool) await refuseForeignMounts(files, [{ pool, ref }], `delete "${ref.name}"`);
}
