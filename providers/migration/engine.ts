import { messageOf } from "../common/errors.ts";
import { lifetimeSignal } from "../common/lifetime.ts";
import { withSlot } from "../common/slots.ts";
import type { IncusClient } from "../incus/client.ts";
import { rootPool } from "../incus/root-device.ts";
import type { Progress } from "../pulumi/progress.ts";
import { begin } from "./begin.ts";
import { asFailed, asHalfUndone, asStranded, deadEnd, isFinal, withStanding } from "./failures.ts";
import { type Move, type MoveRequest, refOf } from "./move.ts";
import { type Observation, observe, observeAgain } from "./observation.ts";
import { writeUndo } from "./record/journals.ts";
import { Lease } from "./record/lease.ts";
import { endOrphans } from "./record/orphans.ts";
import { hostFiles, mayRecover, recover, settleAll, settleAndMend } from "./recovery.ts";
import { beginRollback, forgetRollback } from "./rollback.ts";
import { stateOf } from "./situation.ts";
import { isUndone, type MigrationState, type Point, STATES } from "./states.ts";
import { STEPS } from "./steps.ts";
import { rename } from "./swap/rename.ts";

/** Times that one run goes on after a lost connection or a concurrent change. */
const RECOVERIES = 6;
/** Milliseconds that a failed operation may go on before the rest is taken back. */
const BEFORE_UNDO = 60_000;

export interface MigrationOptions {
  progress: Progress;
  signal?: AbortSignal;
  /** Called before and after each step and at named points within. */
  onStep?: (point: Point) => void | Promise<void>;
}

export interface MigrationResult {
  /** Milliseconds from stopped to started; absent where it did not run, or another run had stopped it. */
  downtime?: number;
}

/** @throws VisibleError with what happened, the state that was left and the way out */
type Work = (
  client: IncusClient,
  request: MoveRequest,
  options: MigrationOptions,
) => Promise<MigrationResult>;

/**
 * Moves a container to another pool of its host, or finishes what an interrupted run began. On failure everything is
 * taken back and the original runs.
 */
export const migrate: Work = (...asked) => work("migrate", ...asked);

/**
 * Ends an interrupted migration whose opt-in has been withdrawn: undone where the swap had not begun, finished where
 * it had. Does nothing where none is under way.
 */
export const concludeWithdrawn: Work = (...asked) => work("conclude", ...asked);

/**
 * Puts a container back on the kept source of its migration. What was written since stays, parked, under another name.
 * Finishes what an interrupted run began; does nothing where there is no kept source.
 */
export const rollBack: Work = (...asked) => work("undo", ...asked);

type Task = "migrate" | "conclude" | "undo";

async function work(
  task: Task,
  client: IncusClient,
  request: MoveRequest,
  { progress, signal, onStep }: MigrationOptions,
): Promise<MigrationResult> {
  return withSlot(`migrate:${client.key}`, request.migrateParallel ?? 1, async () => {
    const lease = new Lease(client, request);
    const move: Move = {
      ...{ request, lease, progress },
      client: client.guardedBy(() => lease.prove()),
      files: await hostFiles(client, request.name, lease),
      signal: AbortSignal.any([lifetimeSignal(), lease.signal, ...(signal ? [signal] : [])]),
      reached: async (point) => onStep?.(point),
      comparedSnapshots: new Set(),
      roundsDone: false,
    };
    try {
      await drive(move, task);
      return move.downtime === undefined ? {} : { downtime: move.downtime };
    } catch (error) {
      throw await withStanding(move, error);
    } finally {
      await lease.release();
    }
  });
}

/** Goes from state to state until nothing is left to do. */
async function drive(move: Move, task: Task): Promise<void> {
  let failure: Error | undefined;
  let recoveries = 0;
  let seen = await observe(move);
  if (stateOf(seen, move.lease.run) !== "settled") seen = await resume(move, seen, task);
  else if (isDone(move, seen, task)) return;
  for (let stale = false; ; stale = true) {
    let state: MigrationState | undefined;
    try {
      if (stale) seen = await observeAgain(move, seen);
      state = stateOf(seen, move.lease.run);
      if (seen.source) move.lease.ref = refOf(move, seen.source.instance.name);
      move.signal.throwIfAborted();
      if (state !== "settled") await takeStep(move, seen, state, failure);
      else if (failure) throw asFailed(move, failure, seen);
      else if (isDone(move, seen, task)) return;
      else await (task === "undo" ? beginRollback : begin)(move, seen);
    } catch (error) {
      if (move.signal.aborted || isFinal(error)) throw error;
      if (recoveries < RECOVERIES && (await mayRecover(move, error))) {
        recoveries += 1;
        await recover(move, seen, error);
      } else if (failure === undefined && state !== undefined && isUndone(state, "failed") && seen.source) {
        failure = error instanceof Error ? error : new Error(messageOf(error));
        seen = await takeBack(move, seen, failure);
      } else {
        throw failure && state !== "settled" ? asHalfUndone(move, failure, error) : error;
      }
    }
  }
}

/** Takes up what an interrupted run left, once nobody works on it any more. */
async function resume(move: Move, first: Observation, task: Task): Promise<Observation> {
  const { name } = move.request;
  const { run } = move.lease;
  const found = stateOf(first, run);
  if (STEPS[found] === undefined) throw deadEnd(found, first, name);
  const holder = first.source?.instance ?? first.named ?? first.copy?.instance;
  move.lease.ref = refOf(move, holder?.name ?? name);
  // Before anything is put right: a rename under way looks like a torn one.
  await move.lease.outliveHolder(move.progress);
  await settleAndMend(move, first);
  await move.lease.acquire(move.progress);
  await endOrphans(move.files, move.lease.anyId);
  let seen = await nameCopy(move, await observe(move));
  const state = stateOf(seen, run);
  move.progress(`resuming an interrupted migration: ${STATES[state].holds}`);
  if (task !== "migrate" && isUndone(state, "withdrawn") && seen.source) {
    await writeUndo(move, seen.source, "the opt-in was withdrawn");
    seen = await observeAgain(move, seen);
  }
  if (task !== "undo" && state === "undoCopyName" && seen.source?.journal.undo?.keeps) {
    await forgetRollback(move, seen);
    seen = await observeAgain(move, seen);
  }
  return seen;
}

/** Gives a copy that was renamed by hand while it was being filled its name back: its files are found by it. */
async function nameCopy(move: Move, seen: Observation): Promise<Observation> {
  const { source, copy, named } = seen;
  const isBeingFilled = source && copy && !source.journal.undo && named?.name === source.instance.name;
  if (!isBeingFilled || copy.instance.name === source.journal.copy) return seen;
  await rename(move, copy, source.journal.copy);
  return observeAgain(move, seen);
}

async function takeStep(
  move: Move,
  seen: Observation,
  state: MigrationState,
  failure: Error | undefined,
): Promise<void> {
  const step = STEPS[state];
  if (!step) throw failure ?? deadEnd(state, seen, move.request.name);
  await move.reached(`before ${state}`);
  await step(move, seen);
  await move.reached(`after ${state}`);
  if (state === "undoJournal") move.progress(`undone: "${move.request.name}" is as it was`);
}

function isDone(move: Move, { named, kept }: Observation, task: Task): boolean {
  if (task === "undo") return kept === undefined;
  return task === "conclude" || (named !== undefined && rootPool(named) === move.request.target);
}

/** Has everything taken back after a failure. @throws VisibleError where that could lose what the copy has written */
async function takeBack(move: Move, before: Observation, failure: Error): Promise<Observation> {
  // What failed may still be under way on the host.
  await settleAll(move, before, BEFORE_UNDO).catch(() => undefined);
  await endOrphans(move.files, move.lease.id);
  const seen = await observeAgain(move, before);
  const state = stateOf(seen, move.lease.run);
  // A copy that somebody else started may hold newer data than the source: only its own run takes it back.
  const isOthers = state === "started" && seen.copy?.journal.startedBy !== move.lease.run;
  if (!isUndone(state, "failed") || !seen.source || isOthers) throw asStranded(move, failure, seen);
  move.progress(`undoing: ${failure.message}`);
  await writeUndo(move, seen.source, failure.message);
  return seen;
}
