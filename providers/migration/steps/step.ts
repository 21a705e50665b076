import type { CopyJournal, SourceJournal } from "../../marks/journal.ts";
import { type Move, refOf } from "../move.ts";
import type { Observation, Seen } from "../observation.ts";
import { stopInstance } from "../swap/stop.ts";

/** What leads from one state to the next. */
export type Step = (move: Move, seen: Observation) => Promise<void>;

/** The source, in a state that has one. */
export function sourceIn({ source }: Observation): Seen<SourceJournal> {
  if (source) return source;
  throw new RangeError("this state has a source");
}

/** The copy, in a state that has one. */
export function copyIn({ copy }: Observation): Seen<CopyJournal> {
  if (copy) return copy;
  throw new RangeError("this state has a copy");
}

/** Stops what is to give up the name, as gently as was asked for. @throws VisibleError where it does not stop; it runs on */
export async function stopForSwap(move: Move, name: string): Promise<void> {
  const { stopTimeout: timeout, forceStop: force } = move.request;
  const { files, signal } = move;
  move.progress("stopping the container");
  await stopInstance(move.client, refOf(move, name), { timeout, force, files, signal });
  move.downSince = performance.now();
}
