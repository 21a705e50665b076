import { parseBytes } from "../common/bytes.ts";
import { IncusApiError } from "../common/errors.ts";
import type { IncusClient } from "../incus/client.ts";
import { getPoolResources } from "../incus/pools.ts";
import type { StoragePool } from "../incus/schemas.ts";
import type { HostFiles } from "./files.ts";
import type { LoopDeviceLook, LoopFileLook } from "./loops.ts";

/**
 * How large a pool is, by everything that has a size. They differ where somebody grew a pool by hand, or where a growth
 * did not get through. Bytes; null where unknown.
 */
export interface PoolSizes {
  /** Incus' own setting `size`: what it was told last, not what is there. */
  setting: number | null;
  /** What the pool's file system says of itself. */
  fileSystem: number | null;
  /** The pool's loop file; false for a pool on anything else. */
  loop: false | "out of reach" | { file: number; devices: LoopDeviceLook[] };
}

/** Whether a pool is on a loop file of Incus' own, the only kind that it can grow. */
export function isOnLoopFile(pool: Pick<StoragePool, "name" | "config">): boolean {
  return pool.config?.["source"]?.endsWith(`/disks/${pool.name}.img`) ?? false;
}

/**
 * @param total of the pool's file system, where known; 0 stands for unknown
 * @param file the pool's loop file, where it can be read
 */
export function poolSizesOf(
  pool: Pick<StoragePool, "name" | "config">,
  total: number,
  file: LoopFileLook | undefined,
): PoolSizes {
  const setting = pool.config?.["size"];
  const onLoop = isOnLoopFile(pool);
  return {
    setting: setting === undefined ? null : (parseBytes(setting) ?? null),
    fileSystem: total > 0 ? total : null,
    loop: onLoop && (file ? { file: file.bytes, devices: file.devices } : "out of reach"),
  };
}

/** Reads the sizes of one pool now. */
export async function readPoolSizes(
  client: IncusClient,
  pool: StoragePool,
  files: HostFiles | undefined,
): Promise<PoolSizes> {
  const [total, file] = await Promise.all([
    getPoolResources(client, pool.name).then(
      ({ space }) => space.total,
      (error: unknown) => {
        if (error instanceof IncusApiError) return 0;
        throw error;
      },
    ),
    files?.loopFile(pool.name),
  ]);
  return poolSizesOf(pool, total, file);
}

/** How large the pool really is, in bytes; null for one on anything but a loop file, or where that is unknown. */
export function realSize({ setting, fileSystem, loop }: PoolSizes): number | null {
  if (!loop) return null;
  return loop === "out of reach" ? (fileSystem ?? setting) : Math.min(loop.file, fileSystem ?? loop.file);
}
