import { VisibleError } from "../common/errors.ts";
import { openHostFiles } from "../host/files.ts";
import { findLeftovers } from "../host/leftovers.ts";
import type { PoolLook } from "../host/look.ts";
import type { IncusClient } from "../incus/client.ts";

/** True where the pool's source is a directory of somebody's file system, neither a loop file nor a block device. */
function isDirectory(source: string): boolean {
  return source.startsWith("/") && !source.startsWith("/dev/");
}

/**
 * A directory that becomes a pool is Incus' own from then on: with the pool it deletes all that is in it, known to it
 * or not. So it must not exist yet, or be empty. Where it cannot be seen, `strangersIn` keeps the pool from deletion.
 * @throws VisibleError naming what is there
 */
export async function checkSourceDirectory(client: IncusClient, source: string): Promise<void> {
  if (!isDirectory(source)) return;
  const entries = (await (await openHostFiles(client))?.listOnHost(source)) ?? [];
  if (entries.length === 0) return;
  throw new VisibleError(
    `Refusing to make a pool in ${source}: it holds ${entries.slice(0, 3).join(", ")}${entries.length > 3 ? ", …" : ""}, and Incus would delete that with the pool. Name a directory that does not exist yet, such as ${source.replace(/\/+$/, "")}/incus.`,
  );
}

/**
 * What a pool's directory holds beside what Incus knows, readable; it would be deleted with the pool.
 * @param source as configured: the live pool's own names the file of a loop pool too
 */
export async function strangersIn(client: IncusClient, pool: PoolLook, source: string): Promise<string[]> {
  if (!isDirectory(source)) return [];
  const files = await openHostFiles(client);
  if (!files) return [`files in ${source} that cannot be seen over this connection`];
  return (await findLeftovers(files, pool)).map((path) => `files unknown to the database: ${path}`);
}
