import { randomUUID } from "node:crypto";
import { VisibleError } from "../common/errors.ts";
import { changeInstance } from "../incus/instance-patch.ts";
import { findInstance } from "../incus/instances.ts";
import { findPool } from "../incus/pools.ts";
import { rootPool } from "../incus/root-device.ts";
import type { Instance } from "../incus/schemas.ts";
import { identityOf } from "../marks/identity.ts";
import { type CopyJournal, journalEntry, requireMark, type SourceJournal } from "../marks/journal.ts";
import { JOURNAL_KEY, LEASE_KEY, PARKED_KEY } from "../marks/keys.ts";
import { undoneName } from "../marks/made-names.ts";
import { originalsOf, type ParkedRecord, parkedRecordOf, parkedSettings } from "../marks/parked-record.ts";
import { type Move, refOf } from "./move.ts";
import type { Observation, Seen } from "./observation.ts";
import { ipv4Addresses, lookAround } from "./preflight.ts";
import { startProblem } from "./problems.ts";

/**
 * Begins to put a container back on the kept source of its migration: looks whether that can be done, then writes the
 * journals. From there on the states of an undo lead on.
 * @throws VisibleError with the way out; nothing has been written then
 */
export async function beginRollback(move: Move, seen: Observation): Promise<void> {
  const { named, kept } = seen;
  const { name } = move.request;
  if (!named || !kept) throw new VisibleError(`There is no kept source to put "${name}" back on.`);
  const record = await requireReturnable(move, named, kept);
  const addresses = named.status === "Running" ? await ipv4Addresses(move, named) : [];
  const id = randomUUID();
  const names = { project: move.request.project, name };
  const journal: SourceJournal = {
    ...{ role: "source", id, phase: "parking", ...names, ...identityOf(kept) },
    ...{ copy: undoneName(name, identityOf(named).uuid), parked: kept.name },
    ...{ from: rootPool(kept), to: rootPool(named) },
    ...{ wasRunning: named.status === "Running", addresses },
    ...{ createdAt: kept.created_at, lastUsedAt: kept.last_used_at, startedAt: new Date().toISOString() },
    ...{ copiedSince: Date.now() / 1000, owner: move.request.owner, originals: record.originals },
    undo: { reason: "named under optIn.undo", run: move.lease.run, keeps: true },
  };
  const copy: CopyJournal = {
    ...{ role: "copy", id, phase: "returning", name, from: journal.from, to: journal.to },
    ...identityOf(named),
  };
  move.lease.ref = refOf(move, kept.name);
  await move.lease.acquire(move.progress);
  move.progress(`going back to the source of ${record.at}, kept as "${kept.name}"`);
  // The copy's first: alone it means nothing, the source's alone would be a dead end.
  await changeInstance(move.client, refOf(move, name), () => ({ config: journalEntry(copy) }));
  await changeInstance(move.client, refOf(move, kept.name), (now) => {
    move.lease.assertHeld(now);
    if (!parkedRecordOf(now))
      throw new VisibleError(`"${kept.name}" is no parked instance any more. Run again.`);
    return { config: { ...journalEntry(journal), ...move.lease.entry(now) } };
  });
}

async function requireReturnable(move: Move, named: Instance, kept: Instance): Promise<ParkedRecord> {
  const refuse = (reason: string): never => {
    throw new VisibleError(`Refusing to put "${named.name}" back on "${kept.name}": ${reason}`);
  };
  const record = parkedRecordOf(kept);
  if (!record) return refuse("it is no parked instance any more. Run again.");
  if (identityOf(kept).uuid !== identityOf(named).uuid) {
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
  const aside = undoneName(named.name, identityOf(named).uuid);
  if (await findInstance(move.client, refOf(move, aside))) {
    refuse(
      `the name "${aside}" for what was written since is taken by an earlier undo. Name "${named.name}" in optIn.removeParked, or rename that one, then run again.`,
    );
  }
  return record;
}

/** Takes name, addresses and autostart from what has been the container since the migration; it keeps all its data. */
export async function parkCopy(move: Move, seen: Seen<CopyJournal>, journal: SourceJournal): Promise<void> {
  await changeInstance(move.client, refOf(move, seen.instance.name), (now) => {
    requireMark(now, seen.journal);
    if (now.config[PARKED_KEY]) return undefined;
    const settings = parkedSettings(now);
    const record: ParkedRecord = {
      ...{ name: journal.name, project: journal.project, pool: journal.to, successorPool: journal.from },
      ...{ reason: "undone", at: new Date().toISOString(), owner: journal.owner },
      ...{ wasRunning: journal.wasRunning, originals: originalsOf(now) },
    };
    return {
      config: { ...settings.config, [PARKED_KEY]: JSON.stringify(record) },
      devices: settings.devices ?? {},
    };
  });
}

/** Ends a rollback that has not begun to swap: both instances are what they were before it. */
export async function forgetRollback(move: Move, { source, copy }: Observation): Promise<void> {
  for (const instance of [source?.instance, copy?.instance]) {
    if (!instance) continue;
    await changeInstance(move.client, refOf(move, instance.name), () => ({
      config: { [JOURNAL_KEY]: "", [LEASE_KEY]: "" },
    }));
  }
}
