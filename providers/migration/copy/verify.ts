import { VisibleError } from "../../common/errors.ts";
import type { SourceJournal } from "../../marks/journal.ts";
import type { Move } from "../move.ts";
import { changedPass, passOf, volumesOf } from "./passes.ts";
import { differences } from "./rsync.ts";
import { flush } from "./volume.ts";

/**
 * Proves that the copy equals the stopped source: the same rsync as a dry run must have nothing to do, and neither
 * may the comparison by content of what changed since the first copy. Then the copy is flushed to disk.
 * @throws VisibleError
 */
export async function verifyCopy(
  move: Move,
  journal: SourceJournal,
  changed: readonly Buffer[],
): Promise<void> {
  const pass = await passOf(move, journal);
  const [left, content] = await Promise.all([
    differences(pass),
    changed.length > 0 ? differences(changedPass(move, journal, changed)) : [],
    flush(move.files, volumesOf(move, journal).copy),
  ]);
  const count = left.length + content.length;
  if (count === 0) return;
  throw new VisibleError(
    `The copy of "${journal.name}" differs from the source after the final pass (at least ${count} entries). Does something on the host write into its root? Run again once that has ended.`,
  );
}
