import { availableParallelism } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf, withSlot } from "@taos-hosts/providers";
import type { HostPlan } from "../plan/plan.ts";
import type { FleetHost } from "./fleet-file.ts";
import type { Digests, FleetState } from "./fleet-state.ts";
import { type HostResult, type Outcome, outcomeOf } from "./outcome.ts";
import type { Progress } from "./progress.ts";
import { errorsIn, lockHolder, runStack, type Signals, type StackRun } from "./stack-run.ts";

/** Pulumi's exit code where `--expect-no-changes` met changes. */
const CHANGES = 7;
/** Ms for which a look counts; after that a host is looked at again before its run. */
const FRESH = 60_000;
/** Shortest and longest pause in ms before a locked stack is tried again: two that met must not meet again. */
const LOCK_PAUSE = [3_000, 10_000] as const;

export interface HostRunOptions {
  state: FleetState;
  command: "up" | "preview";
  signals: Signals;
  progress: Progress;
  /** Whether Pulumi is started where nothing is to do, too. */
  full: boolean;
  /** Ms to wait for a locked stack. */
  lockTimeout: number;
  /** Why a plan may not be applied: it is not the one that was reviewed. */
  objection(host: FleetHost, plan: HostPlan, digests: Digests): string | undefined;
}

/**
 * Runs `preview` or `up` for one host when its turn comes, at most one Pulumi for each core, again and again while
 * another run holds its stack. Never throws.
 * @param isHeld why it must not begin any more
 */
export async function runHost(
  host: FleetHost,
  options: HostRunOptions,
  isHeld: () => string | undefined,
): Promise<HostResult> {
  const { state, progress, signals, lockTimeout } = options;
  const begun = Date.now();
  const attempt = async (): Promise<HostResult> => {
    const held = isHeld();
    if (held !== undefined) return state.result(host, "untouched", held);
    return runOnce(host, options, begun).catch((error: unknown) =>
      state.result(host, "failed", messageOf(error)),
    );
  };
  let result: HostResult;
  for (;;) {
    result = await withSlot("pulumi", availableParallelism(), attempt);
    const left = begun + lockTimeout - Date.now();
    if (result.outcome !== "locked" || left <= 0 || signals.stop.aborted) break;
    progress.note(`${host.name}: ${result.reason} Trying again.`);
    const [least, most] = LOCK_PAUSE;
    const pause = Math.min(left, least + Math.random() * (most - least));
    await delay(pause, undefined, { signal: signals.stop }).catch(() => undefined);
    // The other run may have done what is to do.
    await state.readRecords([host]);
    await state.look(host);
  }
  progress.end(result);
  return result;
}

async function runOnce(host: FleetHost, options: HostRunOptions, begun: number): Promise<HostResult> {
  const { state, command, signals, progress } = options;
  const { need, plan, standing } =
    Date.now() - state.knownOf(host).at > FRESH ? await state.look(host) : state.knownOf(host);
  const isIdle = need.kind === "nothing" && !options.full;
  if (isIdle || need.kind === "unreachable" || need.kind === "refused")
    return state.result(host, outcomeOf(need, standing, "look"), need.reason);
  const objection = options.objection(host, plan, state.digestsOf(host));
  if (objection !== undefined) return state.result(host, "refused", objection);

  progress.start(host.name, command);
  const run = await runStack(command, host, signals, (line) => progress.line(host.name, line));
  const ran = { pulumi: true, seconds: Math.round((Date.now() - begun) / 1_000), log: run.log };
  const [outcome, reason] = await classified(host, run, options);
  return state.result(host, outcome, reason, ran);
}

async function classified(
  host: FleetHost,
  { exitCode, lines }: StackRun,
  { state, command, signals, progress }: HostRunOptions,
): Promise<[Outcome, string]> {
  const { need, plan } = state.knownOf(host);
  const count = plan.actions.length;
  if (command === "preview" && exitCode === CHANGES) return ["changes", need.reason];
  if (command === "preview" && exitCode === 0)
    return count > 0 ? ["changes", need.reason] : ["unchanged", "nothing to do"];
  if (exitCode === 0) {
    await state.writeRecord(host).catch((error: unknown) => {
      const way = "the next run starts Pulumi again";
      progress.note(`${host.name}: its stack's tag could not be set, so ${way}: ${messageOf(error)}`);
    });
    return count > 0
      ? ["changed", `${count} done`]
      : ["unchanged", "nothing was to do on it, and now Pulumi knows it so"];
  }
  if (signals.stop.aborted) return ["interrupted", "stopped; the next run goes on from what the host shows"];
  const holder = lockHolder(lines);
  if (holder !== undefined) {
    const remedy = `Wait for that run to end; where it is dead: pulumi cancel --stack ${host.name}.`;
    return ["locked", `its stack is held by ${holder}. ${remedy}`];
  }
  // The host itself tells best whether it went away during the run.
  const after = await state.look(host);
  const isElse = after.need.kind === "unreachable" || after.need.kind === "refused";
  return [isElse ? outcomeOf(after.need, after.standing, "look") : "failed", errorsIn(lines)];
}
