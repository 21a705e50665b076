import { link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { until } from "./deadline.ts";
import { processIdentity } from "./processes.ts";

/**
 * Runs `work` while holding the lock file `path`, so that two processes of one
 * machine do not do it at once. A lock whose holder is dead is taken over.
 *
 * @throws Error when the lock is not free within `deadlineMs` (default 10 minutes).
 */
export async function withFileLock<T>(
  path: string,
  work: () => Promise<T>,
  deadlineMs = 600_000,
): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  const mine = `${process.pid} ${await processIdentity(process.pid)}`;
  const candidate = `${path}.${process.pid}.${++candidates}`;
  await writeFile(candidate, mine);
  try {
    await until(() => tryTake(path, candidate), { what: `the lock ${path}`, deadlineMs, everyMs: 100 });
  } finally {
    await rm(candidate, { force: true });
  }
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}

let candidates = 0;

async function tryTake(path: string, candidate: string): Promise<boolean> {
  try {
    // A hard link appears with its content or not at all.
    await link(candidate, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  const holder = await readFile(path, "utf8").catch(() => undefined);
  if (holder !== undefined && !(await isAlive(holder))) await rm(path, { force: true });
  return false;
}

/** Whether the process that wrote `"<pid> <identity>"` still runs. */
export async function isAlive(holder: string): Promise<boolean> {
  const [pid, identity] = holder.trim().split(" ");
  return identity !== undefined && (await processIdentity(Number(pid))) === identity;
}
