import { type Problem, qualifiedName } from "@taos-hosts/providers";
import type { Action, ActionKind, Refusal, Subject } from "./types.ts";

/** What the parts of the planner find of one host, in the order in which it is reported. */
export class Findings {
  readonly actions: Action[] = [];
  readonly refusals: Refusal[] = [];
  /** Good to know; nothing depends on it. */
  readonly remarks: string[] = [];

  act(
    kind: ActionKind,
    subject: Subject,
    reason: string,
    more: Pick<Action, "pool" | "detail" | "cost"> = {},
  ): void {
    this.actions.push({ kind, ...subject, reason, ...more });
  }

  /** The config asks for what cannot be, and `up` fails there. */
  refuse(subject: Subject, problem: Problem): void {
    this.refusals.push({ severity: "error", ...subject, ...problem });
  }

  /** It waits, and `up` goes on. */
  hold(subject: Subject, problem: Problem): void {
    this.refusals.push({ severity: "held", ...subject, ...problem });
  }
}

/** A container that is there or named by the config, as actions and refusals name it. */
export function containerOf(ref: { project: string; name: string }): Required<Subject> {
  const container = qualifiedName(ref);
  return { object: `container ${container}`, container };
}
