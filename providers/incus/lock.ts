const tails = new Map<string, Promise<unknown>>();

/**
 * Runs `task` alone among all tasks of this process with the same key, in order of arrival.
 * Keys are such as `pool:<host>:<name>`; a host-wide key serialises the host.
 */
export async function withLock<T>(key: string, task: () => Promise<T>): Promise<T> {
  const before = tails.get(key) ?? Promise.resolve();
  const run = before.then(task, task);
  const tail = run.then(
    () => undefined,
    () => undefined,
  );
  tails.set(key, tail);
  try {
    return await run;
  } finally {
    if (tails.get(key) === tail) tails.delete(key);
  }
}
