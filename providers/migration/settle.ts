import { z } from "zod";
import { DeadlineError } from "../common/errors.ts";
import { poll } from "../common/poll.ts";
import type { IncusClient } from "../incus/client.ts";
import { parseApiUrl } from "../incus/paths.ts";

/** Milliseconds that an operation left over from an interrupted run may take. A refresh copies all of a container. */
const SETTLE_DEADLINE = 1_800_000;

const Running = z.object({
  description: z.string().default(""),
  resources: z.record(z.string(), z.array(z.string()).nullable()).nullish(),
});
const RunningOperations = z.object({ running: z.array(Running).nullish() });

/** Sessions of people; they change nothing that a migration relies on. */
const SESSIONS = ["Executing command", "Showing console", "Connecting to instance SFTP"];

/**
 * Waits until Incus works on none of these instances: a killed or disconnected run leaves its last operation going,
 * and what the host shows meanwhile is on its way to something else.
 * @param deadline milliseconds
 * @throws DeadlineError
 */
export async function settle(
  client: IncusClient,
  project: string,
  names: readonly string[],
  signal: AbortSignal,
  deadline = SETTLE_DEADLINE,
): Promise<void> {
  const isBusy = async (): Promise<boolean> => {
    const query = { project, recursion: 1 };
    const { running } = await client.get("/1.0/operations", RunningOperations, { query });
    return (running ?? []).some(({ description, resources }) => {
      if (SESSIONS.includes(description)) return false;
      const urls = [...(resources?.["instances"] ?? []), ...(resources?.["containers"] ?? [])];
      return urls.some((url) => {
        const { segments, project: of } = parseApiUrl(url);
        return of === project && names.includes(segments[0] ?? "");
      });
    });
  };
  const isFree = async (): Promise<true | undefined> => ((await isBusy()) ? undefined : true);
  if (await poll(isFree, { every: 200, deadline, signal })) return;
  throw new DeadlineError(
    `An operation on "${names[0] ?? ""}" did not end within ${Math.round(deadline / 1000)} s.`,
  );
}
