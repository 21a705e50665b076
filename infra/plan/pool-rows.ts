import { type HostLook, type PoolLook, realSize } from "@taos-hosts/providers";
import type { PoolRow } from "./types.ts";

/** Every pool of the host as the look showed it, whatever the plan makes of it. */
export function poolRows(look: HostLook): PoolRow[] {
  return look.pools.map((pool) => {
    const on = look.instances.filter(({ root }) => root?.pool === pool.name);
    const sizes = on.map(({ bytes, snapshots, snapshotBytes }) =>
      bytes === null || (snapshots.length > 0 && snapshotBytes === null)
        ? null
        : bytes + (snapshotBytes ?? 0),
    );
    return {
      name: pool.name,
      driver: pool.driver,
      status: pool.status,
      sizeBytes: pool.sizes.fileSystem ?? realSize(pool.sizes) ?? pool.sizes.setting,
      freeBytes: pool.freeBytes,
      containers: on.length,
      heldBytes: sizes.reduce<number | null>(
        (sum, size) => (sum === null || size === null ? null : sum + size),
        0,
      ),
      loop: pool.sizes.loop ? loopOf(pool, pool.sizes.loop, look) : null,
    };
  });
}

function loopOf(
  { loopFreeBytes }: PoolLook,
  loop: Exclude<PoolLook["sizes"]["loop"], false>,
  { hostFreeBytes }: HostLook,
): PoolRow["loop"] {
  return {
    fileBytes: loop === "out of reach" ? null : loop.file,
    freeBytes: loopFreeBytes ?? hostFreeBytes,
  };
}
