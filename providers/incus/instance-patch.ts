import { setTimeout as delay } from "node:timers/promises";
import { IncusApiError, isNotFound, isPreconditionFailed, isRefusedByProject } from "../common/errors.ts";
import type { IncusClient } from "./client.ts";
import { type InstanceRef, patchInstance, presentInstance, putInstance } from "./instances.ts";
import { withLock } from "./lock.ts";
import type { Instance } from "./schemas.ts";

/** Attempts of one read-modify-write; each loss means that somebody else changed the instance meanwhile. */
const ATTEMPTS = 8;
/**
 * Milliseconds that writes are refused at most while Incus still works on the instance: it shows "Stopped" while it
 * takes devices and mounts down, and answers writes with "busy" until that is done. Nothing tells when it is.
 */
const BUSY_DEADLINE = 15_000;
const BUSY_EVERY = 50;
/** Milliseconds that Incus may take to apply settings. */
const DEADLINE = 60_000;

type Settings = Pick<Instance, "config" | "devices" | "profiles" | "description" | "architecture">;

/** What a change writes: config keys are merged, an empty value removes one; everything else replaces what was there. */
export interface Change extends Partial<Settings> {}

/**
 * Reads an instance, lets `decide` say what to change, and writes it with the etag of what was read; again from the
 * start when it changed in between. Undefined from `decide` writes nothing.
 * @returns the instance as it is after the change
 * @throws what `decide` throws; VisibleError where the instance is gone
 */
export async function changeInstance(
  client: IncusClient,
  ref: InstanceRef,
  decide: (instance: Instance) => Change | undefined,
): Promise<Instance> {
  return exclusively(client, ref, async () => {
    const busyUntil = performance.now() + BUSY_DEADLINE;
    for (let conflicts = 0; ; ) {
      const found = await presentInstance(client, ref);
      const change = decide(found.value);
      if (change === undefined) return found.value;
      try {
        return await write(client, ref, found.value, change, found.etag);
      } catch (error) {
        if (isPreconditionFailed(error)) {
          conflicts += 1;
          if (conflicts === ATTEMPTS) throw error;
        } else {
          if (!(error instanceof IncusApiError) || isNotFound(error) || isRefusedByProject(error))
            throw error;
          if (performance.now() > busyUntil) throw error;
          await delay(BUSY_EVERY);
        }
      }
    }
  });
}

/** Runs `task` while this process writes nothing else to the instance: Incus answers a second writer with "busy". */
export function exclusively<T>(client: IncusClient, ref: InstanceRef, task: () => Promise<T>): Promise<T> {
  return withLock(`change:${client.key}:${ref.project}/${ref.name}`, task);
}

async function write(
  client: IncusClient,
  ref: InstanceRef,
  before: Instance,
  change: Change,
  etag: string | undefined,
): Promise<Instance> {
  const merged = { ...before.config, ...change.config };
  const config = Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== ""));
  const after = { ...before, ...change, config };
  if (change.devices || change.profiles) {
    // PATCH can only add devices.
    await putInstance(client, ref, after, etag, { deadline: DEADLINE });
  } else {
    // Incus 6.0 empties the description of an instance when a PATCH does not repeat it (instance_patch.go).
    await patchInstance(client, ref, { config: change.config ?? {}, description: after.description }, etag);
  }
  return after;
}
