import { setTimeout as delay } from "node:timers/promises";

/** How a wait is bounded. */
export type UntilOptions = {
  /** What is waited for, as the error names it. */
  what: string;
  /** Longest wait in milliseconds. @default 30_000 */
  deadlineMs?: number;
  /** Pause between two looks in milliseconds. @default 50 */
  everyMs?: number;
  signal?: AbortSignal;
};

/**
 * Looks again and again until `probe` answers something other than
 * `undefined` or `false`, and returns that answer.
 *
 * @throws Error naming `what` when the deadline passes; the reason of `signal` when it aborts.
 */
export async function until<T>(
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  { what, deadlineMs = 30_000, everyMs = 50, signal }: UntilOptions,
): Promise<T> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    signal?.throwIfAborted();
    const answer = await probe();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) throw new Error(`Waited ${deadlineMs} ms in vain: ${what}`);
    await delay(everyMs, undefined, signal === undefined ? {} : { signal });
  }
}
