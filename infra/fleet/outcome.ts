import { type HostPlan, planErrors } from "../plan/plan.ts";
import type { Applied, StackRecord } from "./record.ts";

/** What a command came to for one host. */
export type Outcome =
  /** Nothing was or is to do. */
  | "unchanged"
  /** `up` changed it as wanted. */
  | "changed"
  /** Something would change: it was not applied yet. */
  | "changes"
  /** It differs from what was applied last, and the config does not: it was changed by something else. */
  | "drifted"
  /** The fleet file says that no run writes to it. */
  | "paused"
  /** No run came to it: the roll-out stopped before. */
  | "untouched"
  /** It does not answer, or not to this client. */
  | "unreachable"
  /** The plan, or the review, refuses what the config asks for; nothing was written. */
  | "refused"
  /** Another run held its stack for longer than this one waited. */
  | "locked"
  /** The run was stopped; the next one goes on. */
  | "interrupted"
  | "failed";

/** Exit code of a command: the sum of these over what occurred, each once. 1 is an error of the command itself. */
const BITS: Record<Outcome, number> = {
  ...{ unchanged: 0, changed: 0, paused: 0 },
  ...{ changes: 2, untouched: 2, interrupted: 2 },
  unreachable: 4,
  ...{ refused: 8, locked: 8 },
  failed: 16,
  drifted: 32,
};

/** Exit code for the outcomes of a command that ran to its end. Pure. */
export function exitCode(outcomes: Iterable<Outcome>): number {
  return [...outcomes].reduce((code, outcome) => code | BITS[outcome], 0);
}

/** Whether a stack is as the last `up` of this config and this program left it, or what differs. */
export type Standing = "current" | "never" | "config" | "program" | "state";

export function standingOf(
  { applied, state }: StackRecord,
  wanted: Pick<Applied, "config" | "program">,
): Standing {
  if (applied === null || state === null) return "never";
  if (applied.config !== wanted.config) return "config";
  if (applied.program !== wanted.program) return "program";
  return applied.state === state ? "current" : "state";
}

const STANDING: Record<Standing, string> = {
  current: "as at its last up",
  never: "no up of it has succeeded yet",
  config: "its config is another than at its last up",
  program: "the program is another than at its last up",
  state: "something else has written its state since its last up",
};

/** A standing in words. */
export function describeStanding(standing: Standing): string {
  return STANDING[standing];
}

/** What a look says that an `up` would have to do. */
export interface Need {
  kind: "nothing" | "record" | "changes" | "unreachable" | "refused";
  reason: string;
}

/** `record`: nothing is to do on the host, and Pulumi has not seen it so. Pure. */
export function needOf(plan: HostPlan, standing: Standing): Need {
  const errors = planErrors({ hosts: [plan] });
  if (plan.unreachable !== null) return { kind: "unreachable", reason: errors.join(" ") };
  if (errors.length > 0) return { kind: "refused", reason: errors.join(" ") };
  const count = plan.actions.length;
  if (count > 0) return { kind: "changes", reason: `${count} to do` };
  if (standing !== "current") return { kind: "record", reason: `nothing to do on it; ${STANDING[standing]}` };
  return { kind: "nothing", reason: `nothing to do, ${STANDING.current}` };
}

/** What a host's need is called where nothing is done about it. `drift` tells hand-made changes apart. Pure. */
export function outcomeOf({ kind }: Need, standing: Standing, command: "look" | "drift"): Outcome {
  if (kind === "nothing") return "unchanged";
  if (kind === "unreachable" || kind === "refused") return kind;
  return command === "drift" && kind === "changes" && standing === "current" ? "drifted" : "changes";
}

/** One host in a table or in JSON. */
export interface HostResult {
  host: string;
  wave: number;
  outcome: Outcome;
  /** One or more sentences. */
  reason: string;
  paused: string | null;
  /** Whether Pulumi was started for it. */
  pulumi: boolean;
  /** Of the run, Pulumi included; null where nothing ran. */
  seconds: number | null;
  /** Path of the run's output. */
  log: string | null;
  plan: HostPlan | null;
}
