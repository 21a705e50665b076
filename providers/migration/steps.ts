import { VisibleError } from "../common/errors.ts";
import { changeInstance } from "../incus/instance-patch.ts";
import { listSnapshots } from "../incus/instances.ts";
import { type CopyJournal, journalEntry, type SourceJournal } from "../marks/journal.ts";
import { JOURNAL_KEY, LEASE_KEY } from "../marks/keys.ts";
import { alignSnapshots } from "./copy/snapshots.ts";
import {
  beginOfCopy,
  copyAll,
  copyFinally,
  copyRounds,
  createCopy,
  deleteCopy,
  ensureDeltaFits,
  volumesOf,
} from "./copy/transfer.ts";
import { proveHealth, verifyCopy } from "./copy/verify.ts";
import { flush } from "./copy/volume.ts";
import { type Move, refOf } from "./move.ts";
import type { Observation, Seen } from "./observation.ts";
import { endOrphans } from "./record/orphans.ts";
import { forgetRollback, parkCopy } from "./rollback.ts";
import { type MigrationState, STATES } from "./states.ts";
import { stopInstance } from "./swap/stop.ts";
import {
  dressCopy,
  forgetMigration,
  parkSettings,
  rehearseSwap,
  rename,
  startInstance,
  undressCopy,
  unparkSettings,
} from "./swap/swap.ts";

/** Milliseconds that a copy which proved unhealthy has to stop before it is killed. */
const UNHEALTHY_STOP = 10_000;

type Step = (move: Move, seen: Observation) => Promise<void>;

/** What is done in each state that has a next step. Each is safe to repeat. */
export const STEPS: { [State in MigrationState]?: Step } = {
  async intended(move, seen) {
    const { instance, journal } = source(seen);
    // What was known of a copy before is not true of a new one.
    move.comparedSnapshots.clear();
    move.roundsDone = false;
    const copiedSince = await beginOfCopy(move, journal);
    await createCopy(move, instance, journal);
    await move.reached("clone created");
    await endOrphans(move.files, volumesOf(move, journal).copy);
    const snapshots = await listSnapshots(move.client, refOf(move, journal.name));
    await ensureDeltaFits(move, journal, snapshots);
    await alignSnapshots(move, instance, await fresh(move, journal.copy), journal);
    await move.reached("snapshots compared");
    await copyAll(move, journal);
    await move.reached("first copy");
    await writeSource(move, journal.name, { ...journal, copiedSince });
    await writeCopy(move, journal.copy, { phase: "seeded" });
  },

  async seeding(move, seen) {
    move.progress("discarding an unfinished copy");
    await endOrphans(move.files, volumesOf(move, source(seen).journal).copy);
    await deleteCopy(move, copy(seen));
  },

  async seeded(move, seen) {
    const { instance, journal, running } = source(seen);
    await endOrphans(move.files, volumesOf(move, journal).copy);
    await alignSnapshots(move, instance, copy(seen).instance, journal);
    await rehearseSwap(move, copy(seen));
    const copiedSince = running ? await copyRounds(move, journal) : journal.copiedSince;
    // Written back now, so that the flush after the stop finds little to do.
    await flush(move.files, volumesOf(move, journal).copy);
    move.roundsDone = true;
    await writeSource(move, journal.name, { ...journal, phase: "stopping", copiedSince });
  },

  async stopping(move, seen) {
    const { journal } = source(seen);
    // Resumed: much may have changed since the last round.
    if (!move.roundsDone) {
      await endOrphans(move.files, volumesOf(move, journal).copy);
      const copiedSince = await copyRounds(move, journal);
      move.roundsDone = true;
      await writeSource(move, journal.name, { ...journal, copiedSince });
    }
    const { stopTimeout: timeout, forceStop: force } = move.request;
    move.progress("stopping the container");
    await stopInstance(move.client, refOf(move, journal.name), {
      timeout,
      force,
      files: move.files,
      signal: move.signal,
    });
    move.downSince = performance.now();
  },

  async stopped(move, seen) {
    const { instance, journal } = source(seen);
    await alignSnapshots(move, instance, copy(seen).instance, journal);
    const changed = await copyFinally(move, journal);
    await move.reached("final pass");
    await verifyCopy(move, journal, changed);
    move.progress("verified: the copy equals the stopped source");
    await move.reached("compared");
    const verified = { run: move.lease.run, lastUsedAt: instance.last_used_at };
    await writeCopy(move, journal.copy, { phase: "verified", verified });
  },

  async verified(move, seen) {
    move.progress("swapping: parking the source");
    await parkSettings(move, source(seen).journal, new Date().toISOString());
  },

  async parking(move, seen) {
    await rename(move, source(seen), source(seen).journal.parked);
  },

  async parked(move, seen) {
    await rename(move, copy(seen), source(seen).journal.name);
  },

  async renamed(move, seen) {
    const { instance, journal } = source(seen);
    await dressCopy(move, instance, journal);
  },

  async dressed(move, seen) {
    const { instance, journal } = copy(seen);
    const ran = seen.source?.journal.wasRunning ?? instance.config["volatile.last_state.power"] === "RUNNING";
    if (!ran) {
      await writeCopy(move, instance.name, { phase: "healthy" });
      return;
    }
    if (journal.startedBy !== move.lease.run)
      await writeCopy(move, instance.name, { startedBy: move.lease.run });
    move.progress(`starting from pool "${journal.to}"`);
    await startInstance(move.client, refOf(move, instance.name));
    if (move.downSince !== undefined) {
      const seconds = ((performance.now() - move.downSince) / 1000).toFixed(2);
      move.progress(`started ${seconds} s after it had stopped`);
      move.downtime = performance.now() - move.downSince;
    }
  },

  async started(move, seen) {
    await proveHealth(move, seen.source?.journal.addresses ?? []);
    await writeCopy(move, copy(seen).instance.name, { phase: "healthy" });
    move.progress("healthy");
  },

  async healthy(move, seen) {
    const { instance } = source(seen);
    await changeInstance(move.client, refOf(move, instance.name), (now) => {
      move.lease.assertHeld(now);
      return { config: { [JOURNAL_KEY]: "", [LEASE_KEY]: "" } };
    });
  },

  async cleared(move, seen) {
    await clearJournal(move, copy(seen).instance.name);
  },

  async copyLost(move, seen) {
    const { instance, journal, running } = source(seen);
    const reason = running
      ? "the source was started during the swap"
      : "the copy was deleted during the swap";
    await writeSource(move, instance.name, { ...journal, undo: { reason, run: move.lease.run } });
  },

  async undoCopyName(move, seen) {
    const { journal } = source(seen);
    const { instance, running } = copy(seen);
    const ref = refOf(move, instance.name);
    if (journal.undo?.keeps) {
      if (running) await stopForRollback(move, seen);
      await parkCopy(move, copy(seen), journal);
      await move.reached("copy parked");
      await rename(move, copy(seen), journal.copy);
      return;
    }
    if (running)
      await stopInstance(move.client, ref, { timeout: UNHEALTHY_STOP, force: true, files: move.files });
    await undressCopy(move, copy(seen));
    await rename(move, copy(seen), journal.copy);
  },

  async undoSourceName(move, seen) {
    await rename(move, source(seen), source(seen).journal.name);
  },

  async undoSettings(move, seen) {
    const { journal } = source(seen);
    const { originals, ...rest } = journal;
    if (!originals) return;
    const next = journalEntry({ ...rest, phase: "copying" });
    await unparkSettings(move.client, refOf(move, journal.name), originals, (instance) => ({
      ...next,
      ...move.lease.entry(instance),
    }));
  },

  async undoStart(move, seen) {
    const { journal } = source(seen);
    move.progress("starting the original");
    await startInstance(move.client, refOf(move, journal.name));
    if (move.downSince !== undefined) move.downtime = performance.now() - move.downSince;
    if (journal.undo?.keeps) await proveHealth(move, journal.addresses, journal.from);
  },

  async undoCopy(move, seen) {
    const { journal } = source(seen);
    if (journal.undo?.keeps) {
      const { instance } = copy(seen);
      await clearJournal(move, instance.name);
      move.progress(`what was written since the migration is kept in "${instance.name}"`);
      return;
    }
    await endOrphans(move.files, volumesOf(move, journal).copy);
    await deleteCopy(move, copy(seen));
  },

  async undoJournal(move, seen) {
    await clearJournal(move, source(seen).instance.name);
  },

  async orphanedCopy(move, seen) {
    await startAgain(move, seen);
    move.progress("deleting a copy that an earlier run left");
    await deleteCopy(move, copy(seen));
  },

  async restored(move, seen) {
    if (!seen.past) return;
    const { instance, journal } = seen.past;
    move.progress("taking off the marks of a migration that ended before the snapshot was restored");
    await forgetMigration(move, instance.name, journal);
  },
};

/** Stops what has been the container since the migration; where it does not stop, it runs on and nothing has changed. */
async function stopForRollback(move: Move, seen: Observation): Promise<void> {
  const { stopTimeout: timeout, forceStop: force } = move.request;
  const { files, signal } = move;
  move.progress("stopping the container");
  try {
    await stopInstance(move.client, refOf(move, copy(seen).instance.name), { timeout, force, files, signal });
  } catch (error) {
    await forgetRollback(move, seen).catch(() => undefined);
    throw error;
  }
  move.downSince = performance.now();
}

/** Starts what an interrupted migration had stopped, where a restored snapshot took the journal that says so. */
async function startAgain(move: Move, seen: Observation): Promise<void> {
  const { wasRunning, phase } = copy(seen).journal;
  if (seen.named?.status !== "Stopped" || !wasRunning || phase === "seeding") return;
  move.progress("starting what the interrupted migration had stopped");
  await startInstance(move.client, refOf(move, seen.named.name));
}

/** States in which a person has to decide, with the way out. */
export function deadEnd(state: MigrationState, seen: Observation, name: string): VisibleError {
  const parked = seen.source?.instance.name ?? "";
  const copied = seen.copy?.instance.name ?? "";
  const past = seen.past?.instance.name ?? "";
  const ways: { [State in MigrationState]?: string } = {
    absent: `There is no instance "${name}".`,
    sourceLost: `The instance that it was copied from is not there any more; only its unfinished copy "${copied}" is. Look into the copy before you rename or delete it by hand.`,
    sourceRestored: `Its source "${past}" was put back to a snapshot while the copy "${copied}" had what came after. Look into both. To go on with "${past}": incus rename ${past} ${name}, then run again.`,
    nameTaken: `Its original is the stopped instance "${parked}", and another one has the name "${name}" now. Give that one another name (incus rename), then run again.`,
    parkedRuns: `Its parked source "${parked}" was started before the copy took over. Stop it (incus stop ${parked}), then run again.`,
  };
  return new VisibleError(
    `Migration of "${name}" cannot go on: ${STATES[state].holds}. ${ways[state] ?? ""}`,
  );
}

/** Writes the source's journal if the lease is still ours. */
export async function writeSource(move: Move, name: string, journal: SourceJournal): Promise<void> {
  await changeInstance(move.client, refOf(move, name), (instance) => {
    move.lease.assertHeld(instance);
    return { config: { ...journalEntry(journal), ...move.lease.entry(instance) } };
  });
}

async function writeCopy(move: Move, name: string, change: Partial<CopyJournal>): Promise<void> {
  await changeInstance(move.client, refOf(move, name), (instance) => {
    const text = instance.config[JOURNAL_KEY] ?? "";
    return { config: { [JOURNAL_KEY]: JSON.stringify({ ...JSON.parse(text), ...change }) } };
  });
}

async function clearJournal(move: Move, name: string): Promise<void> {
  await changeInstance(move.client, refOf(move, name), () => ({
    config: { [JOURNAL_KEY]: "", [LEASE_KEY]: "" },
  }));
}

function source(seen: Observation): Seen<SourceJournal> {
  if (seen.source) return seen.source;
  throw new RangeError("this state has a source");
}

function copy(seen: Observation): Seen<CopyJournal> {
  if (seen.copy) return seen.copy;
  throw new RangeError("this state has a copy");
}

async function fresh(move: Move, name: string): Promise<Seen<CopyJournal>["instance"]> {
  return changeInstance(move.client, refOf(move, name), () => undefined);
}
