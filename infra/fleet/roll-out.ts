import type { HostResult, Outcome } from "./outcome.ts";
import type { FleetWave } from "./waves.ts";

/** What a roll-out does with hosts and between waves; the order of things is `rollOut`'s alone. */
export interface RollOutSteps {
  /** Whether a host has something to do. */
  needsRun(host: string): boolean;
  /**
   * Brings one host to its config. Called for all hosts of a wave at once; it waits for its turn, asks `isHeld` then,
   * and where that gives a reason it does nothing.
   */
  run(host: string, isHeld: () => string | undefined): Promise<HostResult>;
  /** Lets the time after a wave pass and asks for its health. @returns why the next wave must not begin */
  pass(wave: FleetWave, number: number): Promise<string | undefined>;
  /** A host that no run came to. */
  untouched(host: string, reason: string): HostResult;
}

/**
 * Goes through waves in order. Before a wave that has something to do, all those before it have passed; once more hosts
 * of a wave failed than it allows, no other host is begun.
 * @param isStopped why nothing more may begin, from outside
 * @returns a result for each host that had something to do
 */
export async function rollOut(
  waves: readonly FleetWave[],
  steps: RollOutSteps,
  isStopped: () => string | undefined,
): Promise<HostResult[]> {
  const results: HostResult[] = [];
  let stopped: string | undefined;
  const waiting: { wave: FleetWave; number: number }[] = [];
  for (const [index, wave] of waves.entries()) {
    const hosts = wave.hosts.filter((host) => steps.needsRun(host));
    const isHeld = (): string | undefined => stopped ?? isStopped();
    while (hosts.length > 0 && isHeld() === undefined) {
      const next = waiting.shift();
      if (!next) break;
      stopped = await steps.pass(next.wave, next.number);
    }
    let failed = 0;
    results.push(
      ...(await Promise.all(
        hosts.map(async (host) => {
          const held = isHeld();
          if (held !== undefined) return steps.untouched(host, held);
          const result = await steps.run(host, isHeld);
          if (countsAsFailed(result.outcome, wave)) failed += 1;
          if (failed > wave.maxFailed)
            stopped ??= `${failed} of wave ${index + 1} failed, ${wave.maxFailed} may`;
          return result;
        }),
      )),
    );
    waiting.push({ wave, number: index + 1 });
  }
  return results;
}

function countsAsFailed(outcome: Outcome, wave: FleetWave): boolean {
  return outcome === "failed" || wave.countsAsFailed.some((one) => one === outcome);
}
