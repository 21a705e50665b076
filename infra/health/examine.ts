import type { HealthFacts } from "../facts/health.ts";
import { type Finding, type NotLookedAt, type Severity, together } from "./finding.ts";
import { judgeIncus } from "./holes.ts";
import { judgeMachine } from "./machine.ts";
import { judgeParked } from "./parked.ts";
import { judgePools } from "./pools.ts";

/** What a host's health is called. `partly-seen`: nothing was found, and not all could be looked at. */
export type HealthState = "healthy" | "partly-seen" | "warnings" | "errors" | "unreachable";

/** One host of the report; the shape of its JSON. */
export interface HostHealth {
  host: string;
  state: HealthState;
  /** Why it was not looked at; null where it was. */
  unreachable: string | null;
  /** Null where it was not looked at. */
  incus: string | null;
  kernel: string | null;
  /** Seconds that its clock is ahead of ours. */
  clockAhead: number | null;
  /** The worst first. */
  findings: Finding[];
  notLookedAt: NotLookedAt[];
}

const SEVERITIES: readonly Severity[] = ["error", "warning", "note"];

/** Judges one host. @param now milliseconds since 1970 */
export function examine(host: string, facts: HealthFacts, now: number): HostHealth {
  if ("unreachable" in facts) {
    const { unreachable } = facts;
    const unknown = { incus: null, kernel: null, clockAhead: null, findings: [], notLookedAt: [] };
    return { host, state: "unreachable", unreachable, ...unknown };
  }
  const { look } = facts;
  const { findings, notLookedAt } = together([
    judgePools(look.pools, now),
    judgeParked(host, look.parked, look.machine !== null, now),
    judgeMachine(look),
    judgeIncus(look.server.version, look.machine ? look.machine.incusPackage : undefined),
  ]);
  const has = (severity: Severity): boolean => findings.some((one) => one.severity === severity);
  const unseen = notLookedAt.length > 0 ? "partly-seen" : "healthy";
  return {
    host,
    state: has("error") ? "errors" : has("warning") ? "warnings" : unseen,
    unreachable: null,
    incus: look.server.version,
    kernel: look.server.kernel,
    clockAhead: Math.round(look.clock.ahead / 1_000),
    findings: findings.toSorted((a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity)),
    notLookedAt,
  };
}

/** 0 nothing to mend, 2 warnings, 1 an error or a host that was not reached. */
export function exitCodeOf(hosts: readonly HostHealth[]): 0 | 1 | 2 {
  const states = hosts.map(({ state }) => state);
  if (states.includes("errors") || states.includes("unreachable")) return 1;
  return states.includes("warnings") ? 2 : 0;
}
