import { DeadlineError, messageOf, UnreachableError, VisibleError } from "../../common/errors.ts";
import { poll } from "../../common/poll.ts";
import { execInstance, findInstance } from "../../incus/instances.ts";
import type { SourceJournal } from "../../marks/journal.ts";
import { type Move, refOf } from "../move.ts";
import { ipv4Addresses } from "../preflight.ts";
import { differences } from "./rsync.ts";
import { changedPass, passOf, volumesOf } from "./transfer.ts";
import { flush } from "./volume.ts";

/** Milliseconds for a started container to get its addresses back and for the health command to succeed. */
const HEALTH_DEADLINE = 60_000;
/** Milliseconds between two looks. */
const EVERY = 200;

/**
 * Proves that the copy equals the stopped source: the same rsync as a dry run must have nothing to do, and neither
 * may the comparison by content of what changed since the first copy. Then the copy is flushed to disk.
 * @throws VisibleError
 */
export async function verifyCopy(
  move: Move,
  journal: SourceJournal,
  changed: readonly Buffer[],
): Promise<void> {
  const pass = await passOf(move, journal, {});
  const [left, content] = await Promise.all([
    differences(pass),
    changed.length > 0 ? differences(changedPass(move, journal, changed)) : [],
    flush(move.files, volumesOf(move, journal).copy),
  ]);
  const count = left.length + content.length;
  if (count === 0) return;
  throw new VisibleError(
    `The copy of "${journal.name}" differs from the source after the final pass (at least ${count} entries). Does something on the host write into its root? Run again once that has ended.`,
  );
}

/**
 * Waits until the container under the name is healthy: running, same IPv4 addresses, health command succeeds.
 * @param pool the pool that it was started from
 */
export async function proveHealth(
  move: Move,
  wantedAddresses: readonly string[],
  pool = move.request.target,
): Promise<void> {
  const { client, request, signal } = move;
  const ref = refOf(move, request.name);
  const deadline = request.healthTimeout ?? HEALTH_DEADLINE;
  const end = performance.now() + deadline;
  let reason = "";
  const settled = await poll(
    async () => {
      const complaint = await look();
      if (complaint === undefined) return "healthy";
      reason = complaint.reason;
      return complaint.final ? "ill" : undefined;
    },
    { every: EVERY, deadline, signal },
  );
  if (settled === "healthy") return;
  throw new VisibleError(`"${request.name}" started from pool "${pool}" but is not healthy: ${reason}.`);

  async function look(): Promise<{ reason: string; final?: boolean } | undefined> {
    const instance = (await findInstance(client, ref))?.value;
    if (instance?.status !== "Running") return { reason: "it does not stay running", final: true };
    const addresses = await ipv4Addresses(move, instance);
    const missing = wantedAddresses.filter((address) => !addresses.includes(address));
    if (missing.length > 0) {
      return {
        reason: `it lacks its address ${missing.join(", ")} (it has ${addresses.join(", ") || "none"})`,
      };
    }
    if (!request.health) return undefined;
    return (await healthCommand(request.health)) ?? undefined;
  }

  async function healthCommand(command: string[]): Promise<{ reason: string } | undefined> {
    const deadline = Math.max(1_000, end - performance.now());
    try {
      const code = await execInstance(client, ref, command, { deadline, signal });
      return code === 0 ? undefined : { reason: `its health command exited with ${code}` };
    } catch (error) {
      if (error instanceof UnreachableError || signal.aborted) throw error;
      const reason = error instanceof DeadlineError ? "did not end in time" : `failed: ${messageOf(error)}`;
      return { reason: `its health command ${reason}` };
    }
  }
}
