import type { Outcome } from "../fleet/outcome.ts";
import type { HostPlan } from "../plan/plan.ts";

/** A host on the page. */
export interface PageHost {
  name: string;
  outcome: Outcome;
  /** Sentences. */
  reason: string;
  /** Why no run writes to it; null where one may. */
  paused: string | null;
  /** Null where it is in no fleet. */
  wave: number | null;
  tags: readonly string[];
  /** Of its stack: when its last `up` succeeded (ISO 8601), and how it stands to that, in words. Null where unknown. */
  lastUp: { at: string | null; standing: string } | null;
  plan: HostPlan;
}

/** What a page is made from. */
export interface PageData {
  title: string;
  /** When the hosts were looked at: ISO 8601. */
  madeAt: string;
  hosts: readonly PageHost[];
}

/** A file that goes into the page as it is, with its digest as a Content-Security-Policy has it (`sha256-…`). */
export interface Inlined {
  text: string;
  hash: string;
}
