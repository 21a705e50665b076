import { CancelledError, messageOf, VisibleError } from "../common/errors.ts";
import { rootPool } from "../incus/root-device.ts";
import type { Move } from "./move.ts";
import { type Observation, observe } from "./observation.ts";
import { LeaseLostError } from "./record/lease.ts";
import { standingLine } from "./standing.ts";
import { type MigrationState, STATES } from "./states.ts";

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

/** It failed, and everything was taken back. */
export function asFailed({ request }: Move, failure: Error, { named }: Observation): VisibleError {
  const running = named?.status === "Running" ? " and runs" : "";
  const pool = named ? rootPool(named) : "";
  return new VisibleError(
    `Migration of "${request.name}" failed: ${failure.message} Everything was undone: the original is on pool "${pool}"${running}, its copy is deleted. Pool "${request.target}" and the images in it stay.`,
    { cause: failure },
  );
}

/** It failed after a start by another run, which may not be taken back. */
export function asStranded({ request }: Move, error: unknown, seen: Observation): VisibleError {
  const parked = seen.source?.instance.name ?? "";
  return new VisibleError(
    `Migration of "${request.name}" was interrupted after its start on pool "${request.target}", and now: ${messageOf(error)} Nothing was undone, since the container may have written new data. Put it right and run again; the state from before is in the stopped instance "${parked}".`,
    { cause: error },
  );
}

/** It failed, and so did taking it back. */
export function asHalfUndone({ request }: Move, failure: Error, error: unknown): VisibleError {
  return new VisibleError(
    `Migration of "${request.name}" failed: ${failure.message} Undoing it stopped, too: ${messageOf(error)} The next run goes on from there.`,
    { cause: error },
  );
}

/** Whether a run ends with this error at once, and leaves what is unfinished to another one. */
export function isFinal(error: unknown): boolean {
  return error instanceof LeaseLostError || error instanceof CancelledError;
}

/** Puts before an error what state the container is in, where anything had been written to it. */
export async function withStanding(move: Move, error: unknown): Promise<unknown> {
  // Of what another run is working on, that one says how it stands.
  if (!(error instanceof VisibleError) || error instanceof LeaseLostError) return error;
  const seen = await observe(move).catch(() => undefined);
  const isTouched = move.lease.wasHeld || seen?.source !== undefined || seen?.copy !== undefined;
  if (!seen || !isTouched) return error;
  return new VisibleError(`${standingLine(seen, move.request)}\n${error.message}`, { cause: error });
}
