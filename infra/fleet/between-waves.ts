import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import { PROJECT_ROOT } from "../config/project.ts";
import type { FleetWave } from "./waves.ts";

/**
 * What is left of the time that must pass after a wave's last host, in ms: less, or nothing, where an earlier run has
 * waited already. Pure.
 * @param done when the `up` of each of its hosts ended
 */
export function waitLeft(wait: number | undefined, done: readonly string[], now: number): number {
  const last = Math.max(...done.map((at) => Date.parse(at)).filter((at) => !Number.isNaN(at)));
  if (wait === undefined || !Number.isFinite(last)) return 0;
  return Math.min(wait, Math.max(0, last + wait - now));
}

/**
 * Waits after a wave and asks for its health.
 * @returns why the next wave must not begin
 */
export async function passWave(
  wave: FleetWave,
  number: number,
  { done, signal, note }: { done: readonly string[]; signal: AbortSignal; note: (text: string) => void },
): Promise<string | undefined> {
  const left = waitLeft(wave.wait, done, Date.now());
  if (left > 0) {
    note(`wave ${number}: waiting ${Math.ceil(left / 1_000)} s`);
    // Stopped: the roll-out asks that itself.
    await delay(left, undefined, { signal }).catch(() => undefined);
  }
  const [file, ...args] = wave.health ?? [];
  if (file === undefined || signal.aborted) return undefined;
  note(`wave ${number}: ${file}`);
  const result = await execa(file, args, {
    ...{ cwd: PROJECT_ROOT, stdin: "ignore", all: true, reject: false, cancelSignal: signal },
    ...{ timeout: wave.healthTimeout, forceKillAfterDelay: 5_000 },
  });
  if (!result.failed) return undefined;
  const said = result.all?.trim().split("\n").at(-1) ?? "";
  const how = result.timedOut
    ? `did not end within ${wave.healthTimeout / 1_000} s`
    : result.exitCode === undefined
      ? result.shortMessage
      : `ended with ${result.exitCode}`;
  return `after wave ${number} its health command ${how}${said === "" ? "" : `: ${said}`}`;
}
