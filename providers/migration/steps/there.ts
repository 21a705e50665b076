import { changeInstance } from "../../incus/instance-patch.ts";
import { NO_JOURNAL } from "../../marks/journal.ts";
import { createCopy } from "../copy/clone.ts";
import { volumesOf } from "../copy/passes.ts";
import { alignSnapshots } from "../copy/snapshots.ts";
import { beginOfCopy, copyAll, copyFinally, copyRounds, ensureDeltaFits } from "../copy/transfer.ts";
import { verifyCopy } from "../copy/verify.ts";
import { flush } from "../copy/volume.ts";
import { proveHealth } from "../health.ts";
import { refOf } from "../move.ts";
import { clearJournal, writeCopy, writeSource } from "../record/journals.ts";
import type { StateOn } from "../states.ts";
import { dressCopy, rehearseSwap } from "../swap/dressing.ts";
import { parkSource } from "../swap/parking.ts";
import { rename } from "../swap/rename.ts";
import { startInstance } from "../swap/start.ts";
import { copyIn, type Step, sourceIn, stopForSwap } from "./step.ts";

/** What is done in the states that every migration goes through. */
export const STEPS_THERE: Record<StateOn<"there">, Step> = {
  async intended(move, seen) {
    const { instance, journal } = sourceIn(seen);
    // What was known of a copy before is not true of a new one.
    move.comparedSnapshots.clear();
    move.roundsDone = false;
    const copiedSince = await beginOfCopy(move, journal);
    await createCopy(move, instance, journal);
    await move.reached("clone created");
    await ensureDeltaFits(move, journal);
    await alignSnapshots(move, journal);
    await move.reached("snapshots compared");
    await copyAll(move, journal);
    await move.reached("first copy");
    await writeSource(move, journal.name, { ...journal, copiedSince });
    await writeCopy(move, journal.copy, journal, { phase: "seeded" });
  },

  async seeded(move, seen) {
    const { journal, running } = sourceIn(seen);
    const volume = volumesOf(move, journal).copy;
    await alignSnapshots(move, journal);
    await rehearseSwap(move, copyIn(seen));
    const copiedSince = running ? await copyRounds(move, journal) : journal.copiedSince;
    // Written back now, so that the flush after the stop finds little to do.
    await flush(move.files, volume);
    move.roundsDone = true;
    await writeSource(move, journal.name, { ...journal, phase: "stopping", copiedSince });
  },

  async stopping(move, seen) {
    const { journal } = sourceIn(seen);
    // Resumed: much may have changed since the last round.
    if (!move.roundsDone) {
      const copiedSince = await copyRounds(move, journal);
      move.roundsDone = true;
      await writeSource(move, journal.name, { ...journal, copiedSince });
    }
    await stopForSwap(move, journal.name);
  },

  async stopped(move, seen) {
    const { instance, journal } = sourceIn(seen);
    await alignSnapshots(move, journal);
    const changed = await copyFinally(move, journal);
    await move.reached("final pass");
    await verifyCopy(move, journal, changed);
    move.progress("verified: the copy equals the stopped source");
    await move.reached("compared");
    const verified = { run: move.lease.run, lastUsedAt: instance.last_used_at };
    await writeCopy(move, journal.copy, journal, { phase: "verified", verified });
  },

  async verified(move, seen) {
    move.progress("swapping: parking the source");
    await parkSource(move, sourceIn(seen).journal);
  },

  async parking(move, seen) {
    await rename(move, sourceIn(seen), sourceIn(seen).journal.parked);
  },

  async parked(move, seen) {
    await rename(move, copyIn(seen), sourceIn(seen).journal.name);
  },

  async renamed(move, seen) {
    await dressCopy(move, sourceIn(seen));
  },

  async dressed(move, seen) {
    const { instance, journal } = copyIn(seen);
    const ran = seen.source?.journal.wasRunning ?? instance.config["volatile.last_state.power"] === "RUNNING";
    if (!ran) return writeCopy(move, instance.name, journal, { phase: "healthy" });
    if (journal.startedBy !== move.lease.run)
      await writeCopy(move, instance.name, journal, { startedBy: move.lease.run });
    move.progress(`starting from pool "${journal.to}"`);
    await startInstance(move.client, refOf(move, instance.name));
    if (move.downSince === undefined) return;
    move.downtime = performance.now() - move.downSince;
    move.progress(`started ${(move.downtime / 1000).toFixed(2)} s after it had stopped`);
  },

  async started(move, seen) {
    const { instance, journal } = copyIn(seen);
    await proveHealth(move, seen.source?.journal.addresses ?? []);
    await writeCopy(move, instance.name, journal, { phase: "healthy" });
    move.progress("healthy");
  },

  async healthy(move, seen) {
    await changeInstance(move.client, refOf(move, sourceIn(seen).instance.name), (now) => {
      move.lease.assertHeld(now);
      return { config: NO_JOURNAL };
    });
    move.lease.end();
  },

  async cleared(move, seen) {
    await clearJournal(move, copyIn(seen).instance.name);
  },
};
