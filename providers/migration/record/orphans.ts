import { VisibleError } from "../../common/errors.ts";
import { poll } from "../../common/poll.ts";
import type { HostFiles } from "../../host/files.ts";
import type { Volume } from "../copy/volume.ts";

/** Milliseconds for killed processes to be gone. */
const DEADLINE = 30_000;

/**
 * Ends every rsync that still writes below a volume: left by a run that was killed in a way that spared its
 * children. It would write over what the copy does once it runs.
 * @throws VisibleError where one cannot be ended
 */
export async function endOrphans(files: HostFiles, volume: Volume): Promise<void> {
  const directory = files.daemonPath(...volume);
  let left: number[] = [];
  const ended = await poll(
    async () => {
      left = await writersBelow(files, directory);
      for (const pid of left) await files.machine.kill(pid, "SIGKILL");
      return left.length === 0 ? true : undefined;
    },
    { every: 50, deadline: DEADLINE },
  );
  if (ended) return;
  throw new VisibleError(
    `rsync process ${left[0] ?? 0} of an earlier run still writes below ${directory}. End it, then run again.`,
  );
}

async function writersBelow({ machine, mountNamespace }: HostFiles, directory: string): Promise<number[]> {
  const found: number[] = [];
  for (const entry of await machine.list("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const words = ((await machine.read(`/proc/${entry}/cmdline`)) ?? "").split("\0");
    if (!/(^|\/)(rsync|setpriv|nsenter)$/.test(words[0] ?? "")) continue;
    if (!words.some((word) => `${word}/`.startsWith(`${directory}/`))) continue;
    // The same path is another directory to a process of another namespace; on its way there it is in ours.
    const namespace = await machine.linkTarget(`/proc/${entry}/ns/mnt`);
    if (namespace === mountNamespace || !words[0]?.endsWith("rsync")) found.push(Number(entry));
  }
  return found;
}
