import { messageOf, VisibleError } from "../common/errors.ts";
import type { HostFiles } from "../host/files.ts";
import type { IncusClient } from "../incus/client.ts";
import { createPool, deletePool, findPool, getPoolResources } from "../incus/pools.ts";
import { OWNER_KEY } from "../marks/keys.ts";

/** Leftovers that Incus would trip over, or delete, when it makes this pool. @throws VisibleError naming the path */
export async function checkLeftovers(files: HostFiles | undefined, pool: string): Promise<void> {
  for (const [directory, entry] of [
    ["disks", `${pool}.img`],
    ["storage-pools", pool],
  ] as const) {
    if (await files?.exists(directory, entry)) {
      throw new VisibleError(
        `Refusing to create pool "${pool}": ${directory}/${entry} is left in Incus' directory though there is no such pool, and Incus may delete it. Move it away or name the pool differently.`,
      );
    }
  }
}

const PROBE = "taos-probe";
/** Smallest size that mkfs.btrfs accepts is 109 MiB; in bytes as Incus takes it. */
const PROBE_SIZE = "256MiB";

async function removeProbe(client: IncusClient, name: string): Promise<void> {
  const found = await findPool(client, name);
  if (found?.value.config?.[OWNER_KEY]) await deletePool(client, name);
}

async function withProbe<T>(
  client: IncusClient,
  driver: string,
  config: Record<string, string>,
  task: (name: string) => Promise<T>,
): Promise<T> {
  const name = `${PROBE}-${driver}`;
  await removeProbe(client, name);
  await createPool(client, { name, driver, description: "", config: { ...config, [OWNER_KEY]: PROBE } });
  try {
    return await task(name);
  } finally {
    await removeProbe(client, name);
  }
}

/** Proves on a host whose files are out of reach that the driver works: a small pool is made and deleted. */
export function probeDriver(client: IncusClient, driver: "btrfs" | "zfs"): Promise<void> {
  return withProbe(client, driver, { size: PROBE_SIZE }, () => Promise.resolve()).catch((error: unknown) => {
    throw new VisibleError(
      `Driver ${driver} does not work on host "${client.host.name}": ${messageOf(error)} Install btrfs-progs there, or set another driver.`,
    );
  });
}

/** Bytes free for Incus' directory on a host whose files are out of reach, by a `dir` pool that is made and deleted. */
export function probeFreeBytes(client: IncusClient): Promise<number> {
  return withProbe(client, "dir", {}, async (name) => {
    const { space } = await getPoolResources(client, name);
    return space.total - space.used;
  });
}
