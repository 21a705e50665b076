import { journalEntry } from "../../marks/journal.ts";
import { deleteCopy } from "../copy/clone.ts";
import { proveHealth } from "../health.ts";
import { refOf } from "../move.ts";
import { clearJournal } from "../record/journals.ts";
import { forgetRollback } from "../rollback.ts";
import type { StateOn } from "../states.ts";
import { undressCopy } from "../swap/dressing.ts";
import { parkCopy, unparkSettings } from "../swap/parking.ts";
import { rename } from "../swap/rename.ts";
import { startInstance } from "../swap/start.ts";
import { stopInstance } from "../swap/stop.ts";
import { copyIn, type Step, sourceIn, stopForSwap } from "./step.ts";

/** Milliseconds that a copy which proved unhealthy has to stop before it is killed. */
const UNHEALTHY_STOP = 10_000;

/** What is done in the states that take a migration back, soon after its failure or long after its end (`keeps`). */
export const STEPS_BACK: Record<StateOn<"back">, Step> = {
  async undoCopyName(move, seen) {
    const { journal } = sourceIn(seen);
    const { instance, running } = copyIn(seen);
    if (journal.undo?.keeps) {
      if (running) {
        await stopForSwap(move, instance.name).catch(async (error: unknown) => {
          // It runs on and nothing has changed.
          await forgetRollback(move, seen).catch(() => undefined);
          throw error;
        });
      }
      await parkCopy(move, copyIn(seen), journal);
      await move.reached("copy parked");
    } else {
      const stop = { timeout: UNHEALTHY_STOP, force: true, files: move.files };
      if (running) await stopInstance(move.client, refOf(move, instance.name), stop);
      await undressCopy(move, copyIn(seen));
    }
    await rename(move, copyIn(seen), journal.copy);
  },

  async undoSourceName(move, seen) {
    await rename(move, sourceIn(seen), sourceIn(seen).journal.name);
  },

  async undoSettings(move, seen) {
    const { originals, ...rest } = sourceIn(seen).journal;
    if (!originals) return;
    const next = journalEntry({ ...rest, phase: "copying" });
    await unparkSettings(move.client, refOf(move, rest.name), originals, (now) => ({
      ...next,
      ...move.lease.entry(now),
    }));
  },

  async undoStart(move, seen) {
    const { name, undo, addresses, from } = sourceIn(seen).journal;
    move.progress("starting the original");
    await startInstance(move.client, refOf(move, name));
    if (move.downSince !== undefined) move.downtime = performance.now() - move.downSince;
    if (undo?.keeps) await proveHealth(move, addresses, from);
  },

  async undoCopy(move, seen) {
    const { journal } = sourceIn(seen);
    if (journal.undo?.keeps) {
      const { name } = copyIn(seen).instance;
      await clearJournal(move, name);
      move.progress(`what was written since the migration is kept in "${name}"`);
    } else {
      await deleteCopy(move, copyIn(seen));
    }
  },

  async undoJournal(move, seen) {
    await clearJournal(move, sourceIn(seen).instance.name);
  },
};
