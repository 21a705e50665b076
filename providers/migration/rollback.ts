import { VisibleError } from "../common/errors.ts";
import { changeInstance } from "../incus/instance-patch.ts";
import { findInstance } from "../incus/instances.ts";
import { findPool } from "../incus/pools.ts";
import { rootPool } from "../incus/root-device.ts";
import type { Instance } from "../incus/schemas.ts";
import { identityOf } from "../marks/identity.ts";
import { type CopyJournal, journalEntry } from "../marks/journal.ts";
import { undoneName } from "../marks/made-names.ts";
import { type ParkedRecord, parkedRecordOf } from "../marks/parked-record.ts";
import { type Move, refOf } from "./move.ts";
import type { Observation } from "./observation.ts";
import { lookAround } from "./preflight.ts";
import { startProblem } from "./problems.ts";
import { clearJournal, newJournal, writeSource } from "./record/journals.ts";

/**
 * Begins to put a container back on the kept source of its migration: looks whether that can be done, then writes the
 * journals. From there on the states of an undo lead on.
 * @throws VisibleError with the way out; nothing has been written then
 */
export async function beginRollback(move: Move, { named, kept }: Observation): Promise<void> {
  const { name } = move.request;
  if (!named || !kept) throw new VisibleError(`There is no kept source to put "${name}" back on.`);
  const { originals, at } = await requireReturnable(move, named, kept);
  const from = rootPool(kept);
  const to = rootPool(named);
  const journal = await newJournal(move, kept, named, {
    ...{ phase: "parking", copy: undoneName(name, identityOf(named).uuid), parked: kept.name, from, to },
    originals,
    undo: { reason: "named under optIn.undo", run: move.lease.run, keeps: true },
  });
  const { id } = journal;
  const copy: CopyJournal = { role: "copy", id, phase: "returning", name, from, to, ...identityOf(named) };
  move.lease.ref = refOf(move, kept.name);
  await move.lease.acquire(move.progress);
  move.progress(`going back to the source of ${at}, kept as "${kept.name}"`);
  // The copy's first: alone it means nothing, the source's alone would be a dead end.
  await changeInstance(move.client, refOf(move, name), () => ({ config: journalEntry(copy) }));
  await writeSource(move, kept.name, journal, (now) => {
    if (!parkedRecordOf(now))
      throw new VisibleError(`"${kept.name}" is no parked instance any more. Run again.`);
  });
}

async function requireReturnable(move: Move, named: Instance, kept: Instance): Promise<ParkedRecord> {
  const refuse = (reason: string): never => {
    throw new VisibleError(`Refusing to put "${named.name}" back on "${kept.name}": ${reason}`);
  };
  const record = parkedRecordOf(kept);
  if (!record) return refuse("it is no parked instance any more. Run again.");
  const { uuid } = identityOf(named);
  if (identityOf(kept).uuid !== uuid) {
    refuse(
      `"${named.name}" is not the instance that took over from it (its volatile.uuid differs). Give that one another name, and: incus rename ${kept.name} ${named.name}`,
    );
  }
  const { look, seen } = await lookAround(move, named);
  const conflict = seen && startProblem(look, seen);
  if (conflict) refuse(`${conflict.reason}. ${conflict.remedy}`);
  if (kept.status !== "Stopped") refuse("it runs. Stop it (incus stop), then run again.");
  if (named.status !== "Running" && named.status !== "Stopped")
    refuse(`"${named.name}" is neither running nor stopped. Start or stop it, then run again.`);
  const pool = (await findPool(move.client, rootPool(kept)))?.value;
  if (pool?.status !== "Created")
    refuse(`its pool "${rootPool(kept)}" is not available. See "incus warning list" on the host.`);
  const aside = undoneName(named.name, uuid);
  if (await findInstance(move.client, refOf(move, aside))) {
    refuse(
      `the name "${aside}" for what was written since is taken by an earlier undo. Name "${named.name}" in optIn.removeParked, or rename that one, then run again.`,
    );
  }
  return record;
}

/** Ends a rollback that has not begun to swap: both instances are what they were before it. */
export async function forgetRollback(move: Move, { source, copy }: Observation): Promise<void> {
  for (const one of [source, copy]) if (one) await clearJournal(move, one.instance.name);
}
