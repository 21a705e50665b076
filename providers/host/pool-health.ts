import { SHORT } from "../common/command.ts";
import { IncusApiError } from "../common/errors.ts";
import type { IncusClient } from "../incus/client.ts";
import { api } from "../incus/paths.ts";
import type { RequestOptions } from "../incus/requests.ts";
import { PoolResources, type StoragePool } from "../incus/schemas.ts";
import { type BtrfsHealth, lookAtBtrfs } from "./btrfs-health.ts";
import type { HostFiles } from "./files.ts";
import { isOnLoopFile } from "./pool-sizes.ts";

/** A pool's health. Sizes in bytes; null where unknown. */
export interface PoolHealth {
  name: string;
  driver: string;
  /** As Incus says it: `Created` where all is well. */
  status: string;
  source: string;
  /** What its file system says; of a `dir` pool, the host's. */
  space: { used: number; total: number } | null;
  isOnLoop: boolean;
  /** Its loop file. */
  loop: LoopHealth | null;
  /** Where it is mounted, as the daemon sees it. */
  path: string | null;
  /** When the directory that it is in was made, in milliseconds since 1970. */
  madeAt: number | null;
  /** Null also for any other driver, and for a pool that is not available. */
  btrfs: BtrfsHealth | { unread: string } | null;
}

/** A loop file, links followed. */
export interface LoopHealth {
  /** Its length, and what of it takes space already. */
  bytes: number;
  occupied: number;
  /** Free on the file system that it is on, which `device` names. */
  free: number;
  device: string;
}

/** Looks at all pools: a request for each, two commands for all, three for each btrfs. */
export async function lookAtPoolHealth(
  client: IncusClient,
  pools: readonly StoragePool[],
  files: HostFiles | undefined,
  asking: RequestOptions,
): Promise<PoolHealth[]> {
  const loopPath = ({ name }: StoragePool): string => files?.daemonPath("disks", `${name}.img`) ?? "";
  const mountPath = ({ name }: StoragePool): string => files?.daemonPath("storage-pools", name) ?? "";
  const loops = pools.filter(isOnLoopFile);
  const [stats, free] = await Promise.all([
    files ? statOf(files, [...loops.map(loopPath), ...pools.map(mountPath)]) : undefined,
    files ? freeUnder(files, loops.map(loopPath)) : undefined,
  ]);
  return Promise.all(
    pools.map(async (pool): Promise<PoolHealth> => {
      const { name, driver, status, config } = pool;
      const available = status === "Created" || status === "";
      const [space, btrfs] = await Promise.all([
        available ? spaceOf(client, name, asking) : null,
        available && files && driver === "btrfs" ? lookAtBtrfs(files, mountPath(pool)) : null,
      ]);
      const file = stats?.get(loopPath(pool));
      const under = free?.get(loopPath(pool));
      return {
        ...{ name, driver, status, space, btrfs },
        source: config?.["volatile.initial_source"] ?? config?.["source"] ?? "",
        isOnLoop: isOnLoopFile(pool),
        loop: file && under !== undefined ? { ...file, free: under } : null,
        path: files ? mountPath(pool) : null,
        madeAt: (available && stats?.get(mountPath(pool))?.bornAt) || null,
      };
    }),
  );
}

/** Null where the pool does not tell, or has no size. */
async function spaceOf(
  client: IncusClient,
  pool: string,
  asking: RequestOptions,
): Promise<PoolHealth["space"]> {
  try {
    const { space } = await client.get(api("storage-pools", pool, "resources"), PoolResources, asking);
    return space.total > 0 ? space : null;
  } catch (error) {
    if (error instanceof IncusApiError) return null;
    throw error;
  }
}

/** Those of the paths that there are; links are followed. `bornAt` is 0 where the file system does not keep it. */
async function statOf(
  files: HostFiles,
  paths: readonly string[],
): Promise<Map<string, Omit<LoopHealth, "free"> & { bornAt: number }>> {
  const rows = await records(files, ["--printf=%n\\0%s\\0%b\\0%B\\0%d\\0%W\\0"], paths, 6);
  return new Map(
    rows.map(([path = "", bytes, blocks, block, device = "", born]) => [
      path,
      {
        ...{ bytes: Number(bytes), occupied: Number(blocks) * Number(block), device },
        bornAt: Number(born) * 1_000,
      },
    ]),
  );
}

/** Bytes free on the file system of each path. */
async function freeUnder(files: HostFiles, paths: readonly string[]): Promise<Map<string, number>> {
  const rows = await records(files, ["--file-system", "--printf=%n\\0%a\\0%S\\0"], paths, 3);
  return new Map(rows.map(([path = "", blocks, size]) => [path, Number(blocks) * Number(size)]));
}

/** What stat(1) prints of several paths, a row of so many fields for each that there is. */
async function records(
  files: HostFiles,
  options: string[],
  paths: readonly string[],
  fields: number,
): Promise<string[][]> {
  if (paths.length === 0) return [];
  const { stdout } = await files.run(["stat", "--dereference", ...options, "--", ...paths], {
    timeout: SHORT,
  });
  const values = stdout.toString().split("\0");
  return Array.from({ length: Math.floor(values.length / fields) }, (_, index) =>
    values.slice(index * fields, (index + 1) * fields),
  );
}
