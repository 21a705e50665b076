import { deleteCopy } from "../copy/clone.ts";
import { refOf } from "../move.ts";
import { writeUndo } from "../record/journals.ts";
import type { StateOn } from "../states.ts";
import { forgetMigration } from "../swap/parking.ts";
import { startInstance } from "../swap/start.ts";
import { copyIn, type Step, sourceIn } from "./step.ts";

/** What is done in the states that only an interruption, or a hand, leads to. */
export const STEPS_ASIDE: Record<StateOn<"aside">, Step> = {
  async seeding(move, seen) {
    move.progress("discarding an unfinished copy");
    await deleteCopy(move, copyIn(seen));
  },

  async orphanedCopy(move, seen) {
    const { wasRunning, phase } = copyIn(seen).journal;
    // A restored snapshot took the journal that says so.
    if (seen.named?.status === "Stopped" && wasRunning && phase !== "seeding") {
      move.progress("starting what the interrupted migration had stopped");
      await startInstance(move.client, refOf(move, seen.named.name));
    }
    move.progress("deleting a copy that an earlier run left");
    await deleteCopy(move, copyIn(seen));
  },

  async copyLost(move, seen) {
    const what = sourceIn(seen).running ? "the source was started" : "the copy was deleted";
    await writeUndo(move, sourceIn(seen), `${what} during the swap`);
  },

  async restored(move, seen) {
    if (!seen.past) return;
    const { instance, journal } = seen.past;
    move.progress("taking off the marks of a migration that ended before the snapshot was restored");
    await forgetMigration(move, instance.name, journal);
  },
};
