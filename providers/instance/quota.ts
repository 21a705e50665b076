import { formatBytes, parseBytes } from "../common/bytes.ts";
import { VisibleError } from "../common/errors.ts";
import { openHostFiles } from "../host/files.ts";
import type { IncusClient } from "../incus/client.ts";
import { getInstanceState, type InstanceRef } from "../incus/instances.ts";

/** Bytes that a root disk needs beyond what it holds: at its limit a container can neither write nor be stopped. */
const LEAST_ROOM = 64 * 1024 ** 2;
/** The same where what is not yet on the disk cannot be counted: btrfs accounts for it up to 30 s later. */
const ROOM_UNSYNCED = 1024 ** 3;

/** Milliseconds for everything written to reach a slow disk. */
const SYNC_DEADLINE = 120_000;

/**
 * Why a root disk cannot be made this small, with the way out: with less than it holds, every write in the container
 * fails from then on, and its stop too (seen on btrfs); Incus says so only after it has set it. Pure. Sizes in bytes;
 * null: unknown, or no limit.
 */
export function quotaRefusal(
  wanted: number | null,
  current: number | null,
  usage: number | null,
  room = LEAST_ROOM,
): { reason: string; remedy: string } | undefined {
  if (wanted === null || usage === null) return undefined;
  if (current !== null && wanted >= current) return undefined;
  if (usage + room <= wanted) return undefined;
  return {
    reason: `its root disk holds ${formatBytes(usage)} and cannot be limited to ${formatBytes(wanted)}`,
    remedy: `Set disk to at least ${formatBytes(room)} more than that, or delete files in it first.`,
  };
}

/**
 * Proves right before the write that a root disk's new size holds what is in it.
 * @param root the root disk's device, its pool, and its size as wanted and as it is
 * @throws VisibleError with both figures
 */
export async function checkQuota(
  client: IncusClient,
  ref: InstanceRef,
  root: { name: string; pool: string; wanted: string | undefined; current: string | undefined },
): Promise<void> {
  const { name, pool, wanted, current } = root;
  if (wanted === undefined || wanted === current) return;
  const isSynced = await syncPool(client, pool);
  const usage = (await getInstanceState(client, ref)).disk[name]?.usage ?? -1;
  const refused = quotaRefusal(
    parseBytes(wanted) ?? null,
    parseBytes(current ?? "") ?? null,
    usage > 0 ? usage : null,
    isSynced ? LEAST_ROOM : ROOM_UNSYNCED,
  );
  if (refused) throw new VisibleError(`Instance "${ref.name}": ${refused.reason}. ${refused.remedy}`);
}

/** Brings everything written onto the disk, so that it is accounted for; false where the files are out of reach. */
async function syncPool(client: IncusClient, pool: string): Promise<boolean> {
  const files = await openHostFiles(client);
  if (!files) return false;
  const argv = ["sync", "--file-system", files.daemonPath("storage-pools", pool)];
  const { exitCode } = await files.run(argv, { timeout: SYNC_DEADLINE });
  return exitCode === 0;
}
