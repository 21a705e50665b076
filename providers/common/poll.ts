import { setTimeout as delay } from "node:timers/promises";

export interface PollOptions {
  /** Milliseconds between two questions. */
  every: number;
  /** Milliseconds after which no further question is asked. */
  deadline: number;
  signal?: AbortSignal | undefined;
}

/**
 * Asks until there is an answer, at least once. For what sends no event.
 * @returns the answer, or undefined where the deadline passed without one
 * @throws what `ask` throws; the signal's reason
 */
export async function poll<T>(
  ask: () => Promise<T | undefined>,
  { every, deadline, signal }: PollOptions,
): Promise<T | undefined> {
  const end = performance.now() + deadline;
  for (;;) {
    signal?.throwIfAborted();
    const answer = await ask();
    if (answer !== undefined || performance.now() >= end) return answer;
    await delay(every, undefined, signal ? { signal } : {}).catch((error: unknown) => {
      throw signal?.reason ?? error;
    });
  }
}
