import { formatBytes } from "../../common/bytes.ts";
import { VisibleError } from "../../common/errors.ts";
import type { HostFiles } from "../../host/files.ts";
import type { IncusClient } from "../../incus/client.ts";
import { findPool, getPoolResources } from "../../incus/pools.ts";

/** Bytes that stay free for the file system's own needs. */
const RESERVE = 64 * 1024 ** 2;
/** Bytes that stay free on the host: its own file system, and all containers on a `dir` pool, live from it. */
const HOST_RESERVE = 256 * 1024 ** 2;
/** Metadata of a copied tree beside its content. */
const OVERHEAD = 1.05;

/** Bytes that must be free in a pool for `bytes` of files, with their metadata and what the file system needs itself. */
export function spaceNeeded(bytes: number): number {
  return Math.ceil(bytes * OVERHEAD) + RESERVE;
}

/**
 * Refuses where `bytes` more do not fit in a pool, or on the host below the pool's loop file, which is sparse: its
 * size promises nothing.
 * @throws VisibleError with both figures
 */
export async function ensureSpace(
  client: IncusClient,
  files: HostFiles,
  pool: string,
  bytes: number,
): Promise<void> {
  const needed = spaceNeeded(bytes);
  const { space } = await getPoolResources(client, pool);
  const free = space.total - space.used;
  if (space.total > 0 && free < needed) {
    throw new VisibleError(
      `Not enough space in pool "${pool}": ${formatBytes(needed)} needed, ${formatBytes(Math.max(0, free))} free. Grow the pool (pool.size) or free space in it.`,
    );
  }
  const source = (await findPool(client, pool))?.value.config?.["source"] ?? "";
  if (!source.endsWith(".img")) return;
  const hostFree = await files.freeBytes("disks");
  const neededOnHost = Math.ceil(bytes * OVERHEAD) + HOST_RESERVE;
  if (hostFree < neededOnHost) {
    throw new VisibleError(
      `Not enough space on the host under the loop file of pool "${pool}": ${formatBytes(neededOnHost)} needed, ${formatBytes(hostFree)} free. Free space on the host.`,
    );
  }
}
