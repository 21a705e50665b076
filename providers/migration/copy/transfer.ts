import { formatBytes } from "../../common/bytes.ts";
import { VisibleError } from "../../common/errors.ts";
import { listSnapshots } from "../../incus/instances.ts";
import type { SourceJournal } from "../../marks/journal.ts";
import { type Move, refOf } from "../move.ts";
import { COPY_DEADLINE, changedPass, passOf, volumesOf } from "./passes.ts";
import { estimate, type RsyncPass, type RsyncProgress, type RsyncResult, synchronize } from "./rsync.ts";
import { ensureSpace } from "./space.ts";
import { changedSince, flush } from "./volume.ts";

/** A live round is the last when it moved at most this much; the pass after the stop then takes little. */
const SMALL_BYTES = 4 * 1024 ** 2;
const SMALL_FILES = 100;
/** A further live round must move at most this part of the one before. */
const SHRINKING = 0.7;
const MOST_ROUNDS = 8;
/** Milliseconds between two lines of progress. */
const PROGRESS_EVERY = 2_000;

/**
 * Refuses, before anything large is copied, where what differs from the clone does not fit: what the oldest snapshot
 * adds to it, each later one to the one before, and the root to the newest.
 */
export async function ensureDeltaFits(move: Move, journal: SourceJournal): Promise<void> {
  const { client, files, signal } = move;
  const { source, copy } = volumesOf(move, journal);
  const snapshots = await listSnapshots(client, refOf(move, journal.name));
  const byDate = snapshots.toSorted((a, b) => a.created_at.localeCompare(b.created_at));
  const volumes = [...byDate.map(({ name }) => volumesOf(move, journal, name).source), source];
  let bytes = 0;
  let to = files.daemonPath(...copy);
  for (const volume of volumes) {
    const from = [files.daemonPath(...volume, "rootfs")];
    bytes += (await estimate({ files, from, to, live: true, signal, deadline: COPY_DEADLINE })).bytes;
    to = files.daemonPath(...volume);
  }
  await ensureSpace(client, files, journal.to, bytes);
  move.progress(`${formatBytes(bytes)} differ from what pool "${journal.to}" has already`);
}

/** First full copy. Compares content: a file may differ from the image's with the same size and date. */
export async function copyAll(move: Move, journal: SourceJournal): Promise<void> {
  await transfer(move, await passOf(move, journal, { live: true, checksum: true }), "copying");
}

/**
 * Copies what changed, again and again, until little is left or it no longer gets less. The source may run.
 * @returns the moment since which changes may be missing in the copy, as in the journal's `copiedSince`
 */
export async function copyRounds(move: Move, journal: SourceJournal): Promise<number> {
  let before = Number.POSITIVE_INFINITY;
  let { copiedSince } = journal;
  for (let round = 1; round <= MOST_ROUNDS; round++) {
    const began = await beginOfCopy(move, journal);
    const pass = await passOf(move, journal, { live: true });
    const { bytes, files } = await transfer(move, pass, `live round ${round}`);
    const changed = await changedSince(move.files, volumesOf(move, journal).source, copiedSince, move.signal);
    if (changed.length > 0) await synchronize({ ...changedPass(move, journal, changed), live: true });
    copiedSince = began;
    move.progress(`live round ${round} done: ${files} files, ${formatBytes(bytes)}`);
    await move.reached(`round ${round}`);
    if ((bytes <= SMALL_BYTES && files <= SMALL_FILES) || bytes > before * SHRINKING) break;
    before = bytes;
  }
  return copiedSince;
}

/**
 * The moment before a copy, in seconds since 1970. The source is flushed after it: pages that a program has mapped
 * are clean then, so that a later write through the mapping changes the inode's time.
 */
export async function beginOfCopy(move: Move, journal: SourceJournal): Promise<number> {
  // A second for clocks that count coarsely.
  const now = Date.now() / 1000 - 1;
  await flush(move.files, volumesOf(move, journal).source);
  return now;
}

/**
 * The pass after the stop. Files whose inode changed since the last live round are compared by content as well: a
 * write through a memory mapping, or one whose date was set back, changes neither size nor date.
 */
export async function copyFinally(move: Move, journal: SourceJournal): Promise<Buffer[]> {
  const { source } = volumesOf(move, journal);
  const pass = await passOf(move, journal);
  const [{ bytes, files }, changed] = await Promise.all([
    transfer(move, pass, "final pass"),
    changedSince(move.files, source, journal.copiedSince, move.signal),
  ]);
  if (changed.length > 0) await synchronize(changedPass(move, journal, changed));
  move.progress(`final pass done: ${files} files, ${formatBytes(bytes)}`);
  return changed;
}

async function transfer(move: Move, pass: RsyncPass, phase: string): Promise<RsyncResult> {
  let last = performance.now();
  const onProgress = ({ bytes, percent, rate }: RsyncProgress): void => {
    if (performance.now() - last < PROGRESS_EVERY) return;
    last = performance.now();
    move.progress(`${phase}: ${formatBytes(bytes)}, ${percent} %, ${rate}`);
  };
  try {
    return await synchronize({ ...pass, onProgress });
  } catch (error) {
    if (error instanceof VisibleError && error.name === "VisibleError") {
      throw new VisibleError(
        `${phase[0]?.toUpperCase()}${phase.slice(1)} to pool "${move.request.target}" failed: ${error.message}`,
      );
    }
    throw error;
  }
}
