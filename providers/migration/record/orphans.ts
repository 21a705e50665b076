import { VisibleError } from "../../common/errors.ts";
import type { HostFiles } from "../../host/files.ts";
import { ending } from "../../host/watchdog.ts";

/** Milliseconds for killed processes to be gone, as the host itself waits, and for its answer. */
const DEADLINE = 45_000;

/**
 * Ends everything that still writes on the host under an id that begins so, and proves by the host's own list of
 * processes that it is gone: left by a run that is dead, frozen or cut off. It would write over what the copy does once
 * it runs.
 * @param id of the writers (`Lease.id`), or its beginning up to the dot
 * @throws VisibleError where one cannot be ended
 */
export async function endOrphans({ machine }: Pick<HostFiles, "machine">, id: string): Promise<void> {
  const { exitCode, stdout, stderr } = await machine.run(ending(id), { timeout: DEADLINE });
  if (exitCode === 0) return;
  const left = stdout
    .toString()
    .replaceAll(/\/proc\/|\/environ/g, "")
    .trim();
  throw new VisibleError(
    left === ""
      ? `The host could not tell whether an earlier run still writes there: ${stderr.trim().slice(0, 300)}. Run again.`
      : `Process ${left} on the host, of an earlier run, still writes and cannot be killed. End it, then run again.`,
  );
}
