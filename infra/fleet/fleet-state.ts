import type { HostPlan } from "../plan/plan.ts";
import type { FleetHost } from "./fleet-file.ts";
import { lookAt } from "./look.ts";
import {
  describeStanding,
  type HostResult,
  type Need,
  needOf,
  type Outcome,
  outcomeOf,
  type Standing,
  standingOf,
} from "./outcome.ts";
import { type Applied, readRecords, type StackRecord, writeRecord } from "./record.ts";
import { configDigest } from "./stack-text.ts";

/** What an `up` is of: digests of the host's config and of the program. */
export type Digests = Pick<Applied, "config" | "program">;

/** What is known of a host at a moment. */
export interface Known {
  plan: HostPlan;
  need: Need;
  standing: Standing;
  /** Milliseconds. */
  at: number;
}

const NO_RECORD: StackRecord = { applied: null, state: null };
const NOT_RUN = { pulumi: false, seconds: null, log: null };

/** What is known of the hosts of a fleet during one command: records of their stacks, looks, and results made of them. */
export class FleetState {
  readonly #project: string;
  readonly #program: string;
  readonly #signal: AbortSignal;
  readonly #known = new Map<string, Known>();
  readonly #records = new Map<string, StackRecord>();
  readonly #digests = new Map<string, Digests>();

  /** @param program digest of the program. @param signal ends looks */
  constructor(project: string, program: string, signal: AbortSignal) {
    this.#project = project;
    this.#program = program;
    this.#signal = signal;
  }

  /** Reads what each host's stack says of its last `up`; before everything else. */
  async readRecords(hosts: readonly FleetHost[]): Promise<void> {
    const names = hosts.map(({ name }) => name);
    for (const [name, record] of await readRecords(this.#project, names)) this.#records.set(name, record);
    for (const { name, text, config } of hosts)
      this.#digests.set(name, { config: await configDigest(name, text, config), program: this.#program });
  }

  /** Keeps that an `up` of a host has succeeded just now. */
  async writeRecord(host: FleetHost): Promise<void> {
    const applied = await writeRecord(this.#project, host.name, this.digestsOf(host));
    if (applied) this.#records.set(host.name, { applied, state: applied.state });
  }

  async look(host: FleetHost): Promise<Known> {
    const plan = await lookAt(host, this.#project, this.#signal);
    const standing = this.#standingOf(host);
    const known = { plan, standing, need: needOf(plan, standing), at: Date.now() };
    this.#known.set(host.name, known);
    return known;
  }

  /** What the last look showed. */
  knownOf({ name }: FleetHost): Known {
    return found(this.#known, name);
  }

  digestsOf({ name }: FleetHost): Digests {
    return found(this.#digests, name);
  }

  /** When the last `up` of each that had one ended. */
  doneAt(names: readonly string[]): string[] {
    return names.flatMap((name) => this.#records.get(name)?.applied?.at ?? []);
  }

  /** When the last successful `up` of a host ended, and how its stack stands to that, in words. */
  lastUp(host: FleetHost): { at: string | null; standing: string } {
    const standing = describeStanding(this.#standingOf(host));
    return { at: this.#records.get(host.name)?.applied?.at ?? null, standing };
  }

  /** A host's result where nothing is run for it. */
  seen(host: FleetHost, command: "look" | "drift"): HostResult {
    const { need, standing } = this.knownOf(host);
    return this.result(host, outcomeOf(need, standing, command), need.reason);
  }

  /** A host's result by its stack's record alone, without any look at it. */
  recorded(host: FleetHost): HostResult {
    const standing = this.#standingOf(host);
    const at = this.#records.get(host.name)?.applied?.at;
    const when = at === undefined ? "" : ` (${at})`;
    return this.result(
      host,
      standing === "current" ? "unchanged" : "changes",
      `${describeStanding(standing)}${when}`,
    );
  }

  result(
    { name, wave, paused }: FleetHost,
    outcome: Outcome,
    reason: string,
    ran: Pick<HostResult, "pulumi" | "seconds" | "log"> = NOT_RUN,
  ): HostResult {
    return { host: name, wave, outcome, reason, paused, ...ran, plan: this.#known.get(name)?.plan ?? null };
  }

  #standingOf(host: FleetHost): Standing {
    return standingOf(this.#records.get(host.name) ?? NO_RECORD, this.digestsOf(host));
  }
}

function found<T>(map: ReadonlyMap<string, T>, name: string): T {
  const value = map.get(name);
  if (value === undefined) throw new Error(`${name} was not looked up`);
  return value;
}
