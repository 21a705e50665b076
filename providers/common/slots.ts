const counts = new Map<string, { running: number; waiting: (() => void)[] }>();

/** Runs `task` when fewer than `limit` tasks of this process with the same key run; in order of arrival. */
export async function withSlot<T>(key: string, limit: number, task: () => Promise<T>): Promise<T> {
  const slots = counts.get(key) ?? { running: 0, waiting: [] };
  counts.set(key, slots);
  if (slots.running >= Math.max(1, limit)) await new Promise<void>((resolve) => slots.waiting.push(resolve));
  else slots.running += 1;
  try {
    return await task();
  } finally {
    const next = slots.waiting.shift();
    // The slot passes on directly, so nobody can overtake.
    if (next) next();
    else slots.running -= 1;
    if (slots.running === 0) counts.delete(key);
  }
}
