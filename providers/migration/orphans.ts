import { readdir, readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { VisibleError } from "../errors.ts";

/** Milliseconds for killed processes to be gone. */
const DEADLINE = 30_000;

/**
 * Ends every rsync that still writes below `directory`: left by a run that was killed in a way that spared its
 * children. It would write over what the copy does once it runs.
 * @throws VisibleError where one cannot be ended
 */
export async function endOrphans(directory: string): Promise<void> {
  const end = performance.now() + DEADLINE;
  for (;;) {
    const pids = await writersBelow(directory);
    if (pids.length === 0) return;
    if (performance.now() > end) {
      throw new VisibleError(
        `rsync process ${pids[0] ?? 0} of an earlier run still writes below ${directory}. End it, then run again.`,
      );
    }
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It ended by itself.
      }
    }
    await delay(50);
  }
}

async function writersBelow(directory: string): Promise<number[]> {
  // The daemon's pid is part of the path and may have changed since.
  const wanted = directory.replace(/^\/proc\/\d+\/root/, "");
  const found: number[] = [];
  for (const entry of await readdir("/proc").catch(() => [])) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    const words = (await readFile(`/proc/${entry}/cmdline`, "utf8").catch(() => "")).split("\0");
    if (!/(^|\/)(rsync|setpriv)$/.test(words[0] ?? "")) continue;
    if (words.some((word) => `${word.replace(/^\/proc\/\d+\/root/, "")}/`.startsWith(`${wanted}/`)))
      found.push(Number(entry));
  }
  return found;
}
