import { IncusApiError } from "../common/errors.ts";
import type { IncusClient } from "../incus/client.ts";
import { api } from "../incus/paths.ts";
import type { RequestOptions } from "../incus/requests.ts";
import * as schemas from "../incus/schemas.ts";
import { OWNER_KEY } from "../marks/keys.ts";
import type { HostFiles } from "./files.ts";
import { findLeftovers } from "./leftovers.ts";
import type { PoolLook, VolumeLook } from "./look.ts";
import { releaseOf } from "./look-objects.ts";
import { isOnLoopFile, poolSizesOf } from "./pool-sizes.ts";

/**
 * A pool and everything on it, in three requests.
 * @param all how to ask for the objects of all projects
 */
export async function lookAtPool(
  client: IncusClient,
  pool: schemas.StoragePool,
  all: RequestOptions,
  files: HostFiles | undefined,
): Promise<PoolLook> {
  const at = (part: string): string => api("storage-pools", pool.name, part);
  const available = pool.status === "Created" || pool.status === "";
  const [volumes, buckets, resources, loopFile] = await Promise.all([
    client.list(at("volumes"), schemas.StorageVolume, all),
    // Drivers without buckets answer with 400.
    client.list(at("buckets"), schemas.StorageBucket, all).catch(noneOn(400, [])),
    // A pool that is not available answers with an error; its space is unknown.
    available
      ? client
          .get(at("resources"), schemas.PoolResources, { ...all, query: {} })
          .catch(noneOn(undefined, undefined))
      : undefined,
    isOnLoopFile(pool) ? files?.loopFile(pool.name) : undefined,
  ]);
  const own = volumes.filter(({ type }) => type !== "image");
  const look = ({ name, project, type }: schemas.StorageVolume): VolumeLook => ({ name, project, type });
  const found: PoolLook = {
    name: pool.name,
    driver: pool.driver,
    status: pool.status,
    source: pool.config?.["volatile.initial_source"] ?? pool.config?.["source"] ?? "",
    owner: pool.config?.[OWNER_KEY] ?? null,
    ...releaseOf(pool.config ?? {}),
    sizes: poolSizesOf(pool, resources?.space.total ?? 0, loopFile),
    loopFreeBytes: loopFile?.freeBytes,
    freeBytes: resources && resources.space.total > 0 ? resources.space.total - resources.space.used : null,
    visible: pool.config !== null,
    usedBy: pool.used_by,
    volumes: own.filter(({ name }) => !name.includes("/")).map(look),
    volumeSnapshots: own.filter(({ name }) => name.includes("/")).map(look),
    buckets: buckets.map(({ name, project }) => ({ name, project })),
    warm: volumes.filter(({ type }) => type === "image").map(({ name }) => name),
    leftovers: null,
  };
  if (files && pool.driver === "dir") found.leftovers = await findLeftovers(files, found);
  return found;
}

/** Answers an API error with this status (any, where undefined) by a fallback. */
function noneOn<T>(status: number | undefined, fallback: T): (error: unknown) => T {
  return (error) => {
    if (error instanceof IncusApiError && (status === undefined || error.status === status)) return fallback;
    throw error;
  };
}
