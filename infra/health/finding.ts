/** How bad a finding is. A `note` is to be known and needs nothing now. */
export type Severity = "error" | "warning" | "note";

/** Something that is not as it should be, and what mends it. */
export interface Finding {
  severity: Severity;
  /** Stable name of the rule, for programs. */
  rule: string;
  object: string;
  what: string;
  /** The command or the setting that mends it. */
  mend: string;
}

/** What nothing is known of: never healthy, nor sick. */
export interface NotLookedAt {
  object: string;
  why: string;
}

/** What one rule, or one group of them, came to. */
export interface Judgment {
  findings: Finding[];
  notLookedAt: NotLookedAt[];
}

/** Judgments as one. */
export function together(judgments: readonly Judgment[]): Judgment {
  return {
    findings: judgments.flatMap(({ findings }) => findings),
    notLookedAt: judgments.flatMap(({ notLookedAt }) => notLookedAt),
  };
}

/** Where a host's files are out of reach. */
export const OUT_OF_REACH =
  "this connection does not reach the host's files: take ssh as root or with sudo -n, or run there as root";
