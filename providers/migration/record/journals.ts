import { randomUUID } from "node:crypto";
import { changeInstance } from "../../incus/instance-patch.ts";
import type { Instance } from "../../incus/schemas.ts";
import { identityOf } from "../../marks/identity.ts";
import {
  type CopyJournal,
  type Journal,
  journalEntry,
  NO_JOURNAL,
  readJournal,
  requireMark,
  type SourceJournal,
} from "../../marks/journal.ts";
import { ipv4Addresses } from "../health.ts";
import { type Move, refOf } from "../move.ts";
import type { Seen } from "../observation.ts";

/**
 * The journal of a migration, or of an undo, that begins now.
 * @param source the instance that it is written on
 * @param named the instance that has the container's name now
 */
export async function newJournal(
  move: Move,
  source: Instance,
  named: Instance,
  rest: Pick<SourceJournal, "phase" | "copy" | "parked" | "from" | "to" | "undo" | "originals">,
): Promise<SourceJournal> {
  return {
    role: "source",
    id: randomUUID(),
    project: move.request.project,
    name: move.request.name,
    ...identityOf(source),
    wasRunning: named.status === "Running",
    addresses: await ipv4Addresses(move, named),
    createdAt: source.created_at,
    lastUsedAt: source.last_used_at,
    startedAt: new Date().toISOString(),
    copiedSince: Date.now() / 1000,
    owner: move.request.owner,
    ...rest,
  };
}

/**
 * Writes the source's journal if the lease is still ours.
 * @param check throws where the instance is not what it was looked at
 */
export async function writeSource(
  move: Move,
  name: string,
  journal: SourceJournal,
  check: (now: Instance) => void = () => undefined,
): Promise<void> {
  await changeInstance(move.client, refOf(move, name), (now) => {
    move.lease.assertHeld(now);
    check(now);
    return { config: { ...journalEntry(journal), ...move.lease.entry(now) } };
  });
}

/** Has this run take everything back; the states of an undo lead on. */
export async function writeUndo(
  move: Move,
  { instance, journal }: Seen<SourceJournal>,
  reason: string,
): Promise<void> {
  await writeSource(move, instance.name, { ...journal, undo: { reason, run: move.lease.run } });
}

/** Changes the copy's journal. @throws VisibleError where the instance is not the copy of that migration any more */
export async function writeCopy(
  move: Move,
  name: string,
  { id }: Pick<Journal, "id">,
  change: Partial<CopyJournal>,
): Promise<void> {
  await changeInstance(move.client, refOf(move, name), (now) => {
    requireMark(now, { id, role: "copy" });
    return { config: journalEntry({ ...(readJournal(now) as CopyJournal), ...change }) };
  });
}

/** Takes journal and lease off an instance. */
export async function clearJournal(move: Move, name: string): Promise<void> {
  await changeInstance(move.client, refOf(move, name), () => ({ config: NO_JOURNAL }));
}
