import { DeadlineError, messageOf, UnreachableError, VisibleError } from "../common/errors.ts";
import { poll } from "../common/poll.ts";
import { execInstance, findInstance, getInstanceState } from "../incus/instances.ts";
import type { Instance } from "../incus/schemas.ts";
import { type Move, refOf } from "./move.ts";

/** Milliseconds for a started container to get its addresses back and for the health command to succeed. */
const DEADLINE = 60_000;
/** Milliseconds between two looks. */
const EVERY = 200;

/**
 * Waits until the container under the name is healthy: running, same IPv4 addresses, health command succeeds.
 * @param pool the pool that it was started from
 * @throws VisibleError with what it lacks
 */
export async function proveHealth(
  move: Move,
  wantedAddresses: readonly string[],
  pool = move.request.target,
): Promise<void> {
  const { client, request, signal } = move;
  const { health, healthTimeout: deadline = DEADLINE } = request;
  const ref = refOf(move, request.name);
  const end = performance.now() + deadline;
  let reason = "";
  const isHealthy = await poll(look, { every: EVERY, deadline, signal });
  if (isHealthy) return;
  throw new VisibleError(`"${request.name}" started from pool "${pool}" but is not healthy: ${reason}.`);

  /** False where waiting is of no use. */
  async function look(): Promise<boolean | undefined> {
    const instance = (await findInstance(client, ref))?.value;
    if (instance?.status !== "Running") {
      reason = "it does not stay running";
      return false;
    }
    const addresses = await ipv4Addresses(move, instance);
    const missing = wantedAddresses.filter((address) => !addresses.includes(address));
    if (missing.length > 0)
      reason = `it lacks its address ${missing.join(", ")} (it has ${addresses.join(", ") || "none"})`;
    else if (!health || (await succeeds(health))) return true;
    return undefined;
  }

  async function succeeds(command: string[]): Promise<boolean> {
    const deadline = Math.max(1_000, end - performance.now());
    try {
      const code = await execInstance(client, ref, command, { deadline, signal });
      reason = `its health command exited with ${code}`;
      return code === 0;
    } catch (error) {
      if (error instanceof UnreachableError || signal.aborted) throw error;
      const ended = error instanceof DeadlineError ? "did not end in time" : `failed: ${messageOf(error)}`;
      reason = `its health command ${ended}`;
      return false;
    }
  }
}

/** IPv4 addresses that a container has on its own NICs, sorted; none where it does not run. Bridges inside it do not count. */
export async function ipv4Addresses(move: Move, instance: Instance): Promise<string[]> {
  const state = await getInstanceState(move.client, refOf(move, instance.name));
  const own = Object.entries(instance.expanded_devices)
    .filter(([, device]) => device["type"] === "nic")
    .map(([name, device]) => device["hwaddr"] ?? instance.config[`volatile.${name}.hwaddr`]);
  return Object.values(state.network)
    .filter(({ hwaddr }) => hwaddr !== "" && own.includes(hwaddr))
    .flatMap(({ addresses }) => addresses)
    .filter(({ family, scope }) => family === "inet" && scope === "global")
    .map(({ address }) => address)
    .sort();
}
