import { z } from "zod";
import type { Found, IncusClient, Versioned } from "./client.ts";
import { api } from "./paths.ts";
import { PoolResources, StoragePool } from "./schemas.ts";

/** Pool creation and deletion run mkfs, mount and TRIM inside the request (incus-spawn#649: minutes on slow media). */
const POOL_DEADLINE = 600_000;

export function listPools(client: IncusClient): Promise<StoragePool[]> {
  return client.list(api("storage-pools"), StoragePool, { query: { recursion: 1 } });
}

/** The pool with its etag, or undefined where there is none of this name. */
export function findPool(client: IncusClient, name: string): Found<StoragePool> {
  return client.find(api("storage-pools", name), StoragePool);
}

export interface NewPool {
  name: string;
  driver: string;
  description: string;
  config: Record<string, string>;
}

export function createPool(client: IncusClient, pool: NewPool): Promise<void> {
  return client.write("POST", api("storage-pools"), { body: pool, deadline: POOL_DEADLINE });
}

interface PoolChange {
  description?: string;
  config?: Record<string, string>;
}

/**
 * Changes description and single config keys. Never PUT, and never `size`: Incus cuts a live loop file to a smaller one,
 * and from 6.0.6 on truncates it where `size` is dropped (incus d48c70d86d). A PATCH without description empties it
 * (seen on 6.0.4), so it is always repeated.
 * @param current the pool as it was read, with its etag
 */
export function patchPool(
  client: IncusClient,
  current: Versioned<StoragePool>,
  change: PoolChange,
): Promise<void> {
  if (change.config && "size" in change.config)
    throw new RangeError("a pool's size is changed by growPool alone");
  return sendPatch(client, current, change);
}

/** Sets a loop pool's size; only growPool calls this, which proves right before that nothing gets smaller. */
export function setPoolSize(
  client: IncusClient,
  current: Versioned<StoragePool>,
  size: string,
): Promise<void> {
  if (size === "") throw new RangeError("refusing to empty a pool's size");
  return sendPatch(client, current, { config: { size } });
}

function sendPatch(
  client: IncusClient,
  { value, etag }: Versioned<StoragePool>,
  change: PoolChange,
): Promise<void> {
  const body = { description: value.description, config: {}, ...change };
  return client.write("PATCH", api("storage-pools", value.name), { body, etag, deadline: POOL_DEADLINE });
}

export function deletePool(client: IncusClient, name: string): Promise<void> {
  return client.write("DELETE", api("storage-pools", name), { deadline: POOL_DEADLINE });
}

/** Space in bytes: of the pool's file system; for a `dir` pool, of the host's. */
export function getPoolResources(client: IncusClient, name: string): Promise<PoolResources> {
  return client.get(api("storage-pools", name, "resources"), PoolResources);
}

/** Fingerprints of the images that are unpacked in the pool. */
export async function listWarmFingerprints(client: IncusClient, name: string): Promise<string[]> {
  const urls = await client.list(api("storage-pools", name, "volumes", "image"), z.string());
  return urls.map((url) => (url.split("/").at(-1) ?? "").replace(/\?.*$/, ""));
}
