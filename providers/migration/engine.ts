import { randomUUID } from "node:crypto";
import {
  CancelledError,
  DeadlineError,
  IncusApiError,
  isNotFound,
  isPreconditionFailed,
  messageOf,
  UnreachableError,
  VisibleError,
} from "../common/errors.ts";
import { lifetimeSignal } from "../common/lifetime.ts";
import { poll } from "../common/poll.ts";
import { withSlot } from "../common/slots.ts";
import { type HostFiles, openHostFiles } from "../host/files.ts";
import type { IncusClient } from "../incus/client.ts";
import { changeInstance } from "../incus/instance-patch.ts";
import { findInstance } from "../incus/instances.ts";
import { rootPool } from "../incus/root-device.ts";
import { getServer } from "../incus/server.ts";
import { journalEntry, type SourceJournal } from "../marks/journal.ts";
import { copyName, parkedName, undoneName } from "../marks/made-names.ts";
import type { Progress } from "../pulumi/progress.ts";
import { type Move, type MoveRequest, refOf } from "./move.ts";
import { type Observation, observationOf, observe } from "./observation.ts";
import { preflight } from "./preflight.ts";
import { Lease, LeaseLostError } from "./record/lease.ts";
import { beginRollback, forgetRollback } from "./rollback.ts";
import { settle } from "./settle.ts";
import { situationOf } from "./situation.ts";
import { standingLine } from "./standing.ts";
import { deriveState, isUndone, type MigrationState, STATES } from "./states.ts";
import { deadEnd, STEPS, writeSource } from "./steps.ts";
import { rename } from "./swap/swap.ts";
import { mendTornRenames } from "./swap/torn-rename.ts";

/** Times that one run goes on after a lost connection or a concurrent change. */
const RECOVERIES = 6;
/** Milliseconds that a host may be away before a run gives up and leaves the rest to the next one. */
const RECONNECT_DEADLINE = 60_000;
/** Milliseconds that a failed operation may go on before the rest is taken back. */
const BEFORE_UNDO = 60_000;
export interface MigrationOptions {
  progress: Progress;
  signal?: AbortSignal;
  /** Called before and after each step and at named points within. */
  onStep?: (point: string) => void | Promise<void>;
}

export interface MigrationResult {
  /** False where there was nothing to do. */
  moved: boolean;
  /** Milliseconds from stopped to started; absent where it did not run, or another run had stopped it. */
  downtime?: number;
}

/**
 * Moves a container to another pool of its host, or finishes what an interrupted run began. On failure everything is
 * taken back and the original runs.
 * @throws VisibleError with what happened, the state that was left and the way out
 */
export async function migrate(
  client: IncusClient,
  request: MoveRequest,
  options: MigrationOptions,
): Promise<MigrationResult> {
  return withMove(client, request, options, async (move) => drive(move, options, "migrate"));
}

/**
 * Ends an interrupted migration whose opt-in has been withdrawn: undone where the swap had not begun, finished where
 * it had. Does nothing where none is under way.
 */
export async function concludeWithdrawn(
  client: IncusClient,
  request: MoveRequest,
  options: MigrationOptions,
): Promise<void> {
  await withMove(client, request, options, async (move) => drive(move, options, "conclude"));
}

/**
 * Puts a container back on the kept source of its migration. What was written since stays, parked, under another name.
 * Finishes what an interrupted run began; does nothing where there is no kept source.
 * @throws VisibleError with what happened, the state that was left and the way out
 */
export async function rollBack(
  client: IncusClient,
  request: MoveRequest,
  options: MigrationOptions,
): Promise<MigrationResult> {
  return withMove(client, request, options, async (move) => drive(move, options, "undo"));
}

async function withMove<T>(
  client: IncusClient,
  request: MoveRequest,
  options: MigrationOptions,
  task: (move: Move) => Promise<T>,
): Promise<T> {
  return withSlot(`migrate:${client.key}`, request.migrateParallel ?? 1, async () => {
    const lease = new Lease(client, request);
    const signals = [lifetimeSignal(), lease.signal];
    if (options.signal) signals.push(options.signal);
    const move: Move = {
      ...{ client, request, lease, progress: options.progress },
      files: await hostFiles(client, request.name),
      signal: AbortSignal.any(signals),
      reached: async (point) => options.onStep?.(point),
      comparedSnapshots: new Set(),
      roundsDone: false,
    };
    try {
      return await task(move);
    } catch (error) {
      throw await withStanding(move, error);
    } finally {
      await lease.release();
    }
  });
}

/** Puts before an error what state the container is in, where anything had been written to it. */
async function withStanding(move: Move, error: unknown): Promise<unknown> {
  if (!(error instanceof VisibleError)) return error;
  const { project, name } = move.request;
  const seen = await observe(move.client, project, name).catch(() => undefined);
  const isTouched = move.lease.wasHeld || seen?.source !== undefined || seen?.copy !== undefined;
  if (!seen || !isTouched) return error;
  return new VisibleError(`${standingLine(seen, move.request)}\n${error.message}`, { cause: error });
}

async function hostFiles(client: IncusClient, name: string): Promise<HostFiles> {
  const files = await openHostFiles(client);
  if (files) return files;
  throw new VisibleError(
    `Refusing to migrate "${name}": the host's files cannot be reached from here, and Incus' own copy breaks hardlinks. Run this on the host itself as root, with connection: unix.`,
  );
}

type Mode = "migrate" | "conclude" | "undo";

async function drive(move: Move, options: MigrationOptions, mode: Mode): Promise<MigrationResult> {
  let failure: Error | undefined;
  let recoveries = 0;
  let moved = false;
  let seen = await observe(move.client, move.request.project, move.request.name);
  const first = stateOf(move, seen);
  if (first === "settled" && isDone(move, seen, mode)) return { moved: false };
  if (first !== "settled") {
    if (STEPS[first] === undefined) throw deadEnd(first, seen, move.request.name);
    move.lease.ref = refOf(
      move,
      (seen.source?.instance ?? seen.named ?? seen.copy?.instance)?.name ?? move.request.name,
    );
    // Only once nobody works on it any more: a rename under way looks like a torn one.
    await move.lease.outliveHolder(move.progress);
    await settleAll(move, seen);
    await mendTornRenames(move, await look(move, seen));
    await move.lease.acquire(move.progress);
    seen = await observe(move.client, move.request.project, move.request.name);
    seen = await nameCopy(move, seen);
    const state = stateOf(move, seen);
    move.progress(`resuming an interrupted migration: ${STATES[state].holds}`);
    if (mode !== "migrate" && isUndone(state, "withdrawn")) {
      await decideUndo(move, seen, "the opt-in was withdrawn");
      seen = await look(move, seen);
    }
    if (mode !== "undo" && state === "undoCopyName" && seen.source?.journal.undo?.keeps) {
      await forgetRollback(move, seen);
      seen = await look(move, seen);
    }
  }
  for (let stale = false; ; stale = true) {
    let state: MigrationState | undefined;
    try {
      if (stale) seen = await look(move, seen);
      state = stateOf(move, seen);
      if (seen.source) move.lease.ref = refOf(move, seen.source.instance.name);
      move.signal.throwIfAborted();
      if (state === "settled") {
        if (failure) throw asFailed(move, failure, seen);
        if (isDone(move, seen, mode)) {
          return { moved, ...(move.downtime === undefined ? {} : { downtime: move.downtime }) };
        }
        await (mode === "undo" ? beginRollback(move, seen) : begin(move));
      } else {
        const step = STEPS[state];
        if (!step) throw failure ?? deadEnd(state, seen, move.request.name);
        await options.onStep?.(`before ${state}`);
        await step(move, seen);
        await options.onStep?.(`after ${state}`);
        if (state === "cleared") moved = true;
        if (state === "undoJournal") {
          moved ||= seen.source?.journal.undo?.keeps === true;
          move.progress(`undone: "${move.request.name}" is as it was`);
        }
      }
    } catch (error) {
      if (move.signal.aborted || isFinal(error)) throw error;
      if (recoveries < RECOVERIES && (isPassing(error) || !(await filesReachable(move)))) {
        recoveries += 1;
        await recover(move, seen, error);
      } else if (failure === undefined && state !== undefined && isUndone(state, "failed") && seen.source) {
        // What failed may still be under way on the host.
        await settleAll(move, seen, BEFORE_UNDO).catch(() => undefined);
        seen = await look(move, seen);
        if (!mayUndo(move, seen, stateOf(move, seen))) throw asStranded(move, error, seen);
        failure = error instanceof Error ? error : new Error(messageOf(error));
        move.progress(`undoing: ${failure.message}`);
        await decideUndo(move, seen, failure.message);
      } else {
        throw failure && state !== "settled" ? asHalfUndone(move, failure, error) : error;
      }
    }
  }
}

/** Gives a copy that was renamed by hand while it was being filled its name back: its files are found by it. */
async function nameCopy(move: Move, seen: Observation): Promise<Observation> {
  const { source, copy, named } = seen;
  const isBeingFilled = source && copy && !source.journal.undo && named?.name === source.instance.name;
  if (!isBeingFilled || copy.instance.name === source.journal.copy) return seen;
  await rename(move, copy, source.journal.copy);
  return look(move, seen);
}

/** False once the daemon through whose root they are reached is gone. */
function filesReachable(move: Move): Promise<boolean> {
  return move.files.exists("storage-pools");
}

/** Writes the journal of a new migration: the first write to the container. */
async function begin(move: Move): Promise<void> {
  const { request } = move;
  const named = (await findInstance(move.client, request))?.value;
  if (!named) throw deadEnd("absent", observationOf([], request.name), request.name);
  move.progress(`looking whether "${named.name}" can move to pool "${request.target}"`);
  const facts = await preflight(move, named);
  move.lease.ref = refOf(move, request.name);
  await move.lease.acquire(move.progress);
  const journal: SourceJournal = {
    role: "source",
    id: randomUUID(),
    phase: "copying",
    project: request.project,
    name: request.name,
    ...{ copy: facts.copy, parked: facts.parked, from: facts.from, to: request.target, ...facts.identity },
    wasRunning: named.status === "Running",
    addresses: facts.addresses,
    ...{ createdAt: named.created_at, lastUsedAt: named.last_used_at },
    startedAt: new Date().toISOString(),
    copiedSince: Date.now() / 1000,
    owner: request.owner,
  };
  await changeInstance(move.client, refOf(move, request.name), (now) => {
    move.lease.assertHeld(now);
    // Another run came and went between our look and our lease.
    if (rootPool(now) !== facts.from)
      throw new VisibleError(`"${request.name}" has moved meanwhile. Run again.`);
    return { config: { ...journalEntry(journal), ...move.lease.entry(now) } };
  });
}

function stateOf(move: Move, seen: Observation): MigrationState {
  return deriveState(situationOf(seen, move.lease.run));
}

function isDone(move: Move, seen: Observation, mode: Mode): boolean {
  if (mode === "undo") return seen.kept === undefined;
  return mode === "conclude" || (seen.named !== undefined && rootPool(seen.named) === move.request.target);
}

/**
 * Looks again: by name where the names are known, which is a fraction of listing all instances. Source and copy may
 * have been renamed by hand, before or since: where one is not found any more, all instances are looked through.
 */
async function look(move: Move, before: Observation): Promise<Observation> {
  const { project, name } = move.request;
  const uuid = before.source?.journal.uuid ?? before.named?.config["volatile.uuid"];
  if (!uuid) return observe(move.client, project, name);
  const derived = [copyName(name, uuid), parkedName(name, uuid), undoneName(name, uuid)];
  const { copy, parked } = before.source?.journal ?? {};
  const known = [before.source, before.copy, before.past].map((one) => one?.instance.name);
  const names = new Set([name, ...derived, ...[copy, parked, ...known].filter((one) => one !== undefined)]);
  const found = await Promise.all([...names].map((one) => findInstance(move.client, refOf(move, one))));
  const seen = observationOf(
    found.flatMap((one) => (one ? [one.value] : [])),
    name,
  );
  const isMissing = (before.source && !seen.source) || (before.copy && !seen.copy);
  return isMissing ? observe(move.client, project, name) : seen;
}

async function decideUndo(move: Move, seen: Observation, reason: string): Promise<void> {
  if (!seen.source) throw new VisibleError(`Cannot undo: ${reason}`);
  const { instance, journal } = seen.source;
  await writeSource(move, instance.name, { ...journal, undo: { reason, run: move.lease.run } });
}

/** A copy that somebody else started may hold newer data than the source: only its own run takes it back. */
function mayUndo(move: Move, seen: Observation, state: MigrationState): boolean {
  if (!isUndone(state, "failed") || !seen.source) return false;
  return state !== "started" || seen.copy?.journal.startedBy === move.lease.run;
}

async function settleAll(move: Move, seen: Observation, deadline?: number): Promise<void> {
  const { name, project } = move.request;
  const all = [name, seen.source?.journal.copy, seen.source?.journal.parked, seen.copy?.instance.name];
  const known = all.filter((one) => one !== undefined);
  await settle(move.client, project, known, move.signal, deadline);
}

async function recover(move: Move, seen: Observation, error: unknown): Promise<void> {
  move.progress(`interrupted (${messageOf(error)}); looking again`);
  const isBack = async (): Promise<true | undefined> => {
    try {
      await getServer(move.client);
      move.files = await hostFiles(move.client, move.request.name);
      await settleAll(move, seen);
      await mendTornRenames(move, await look(move, seen));
      return true;
    } catch (again) {
      if (move.signal.aborted) throw error;
      if (!isPassing(again) && !(again instanceof VisibleError)) throw again;
      return undefined;
    }
  };
  if (!(await poll(isBack, { every: 250, deadline: RECONNECT_DEADLINE, signal: move.signal }))) throw error;
}

/** The host or the world changed under us: look again, then go on. */
function isPassing(error: unknown): boolean {
  if (error instanceof UnreachableError || error instanceof DeadlineError) return true;
  return (
    isPreconditionFailed(error) ||
    isNotFound(error) ||
    (error instanceof IncusApiError && error.status === 503)
  );
}

function isFinal(error: unknown): boolean {
  return error instanceof LeaseLostError || error instanceof CancelledError;
}

function asFailed(move: Move, failure: Error, seen: Observation): VisibleError {
  const running = seen.named?.status === "Running" ? " and runs" : "";
  const pool = seen.named ? rootPool(seen.named) : "";
  return new VisibleError(
    `Migration of "${move.request.name}" failed: ${failure.message} Everything was undone: the original is on pool "${pool}"${running}, its copy is deleted. Pool "${move.request.target}" and the images in it stay.`,
    { cause: failure },
  );
}

function asStranded(move: Move, error: unknown, seen: Observation): VisibleError {
  const parked = seen.source?.instance.name ?? "";
  return new VisibleError(
    `Migration of "${move.request.name}" was interrupted after its start on pool "${move.request.target}", and now: ${messageOf(error)} Nothing was undone, since the container may have written new data. Put it right and run again; the state from before is in the stopped instance "${parked}".`,
    { cause: error },
  );
}

function asHalfUndone(move: Move, failure: Error, error: unknown): VisibleError {
  return new VisibleError(
    `Migration of "${move.request.name}" failed: ${failure.message} Undoing it stopped, too: ${messageOf(error)} The next run goes on from there.`,
    { cause: error },
  );
}
