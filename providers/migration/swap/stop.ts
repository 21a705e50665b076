import { DeadlineError, IncusApiError, messageOf, VisibleError } from "../../common/errors.ts";
import { poll } from "../../common/poll.ts";
import type { HostFiles } from "../../host/files.ts";
import type { HostMachine } from "../../host/machine.ts";
import type { IncusClient } from "../../incus/client.ts";
import { changeInstance } from "../../incus/instance-patch.ts";
import {
  findInstance,
  getInstanceState,
  type InstanceRef,
  presentInstance,
  setInstanceState,
} from "../../incus/instances.ts";
import type { Instance } from "../../incus/schemas.ts";

/** Milliseconds for a kill, or for Incus to answer beyond the timeout that it was given. */
const SLACK = 15_000;
/** Milliseconds between two looks whether it has stopped. */
const EVERY = 50;
/** Ask init to halt: what liblxc sends by default, and to an init that blocks it, as systemd does (lxccontainer.c). */
const SIGPWR = "SIGPWR";
const SIGRTMIN_PLUS_3 = 37;

export interface StopOptions {
  /** Milliseconds that the container has. */
  timeout: number;
  /** Kill it afterwards. */
  force: boolean;
  /** Files of the host, where it is this machine. */
  files: HostFiles | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Stops a container gently; by force only where that was asked for.
 *
 * Where its init can be reached from here it gets the signal directly: a stop through Incus 6.0 that the container
 * ignores leaves it locked ("busy running a stop operation") until it ends or the daemon restarts.
 * @throws VisibleError where it ignores the signal; it is left running
 */
export async function stopInstance(
  client: IncusClient,
  ref: InstanceRef,
  options: StopOptions,
): Promise<void> {
  const instance = (await presentInstance(client, ref)).value;
  if (instance.status === "Stopped") return;
  const machine = maySignal(instance) ? options.files?.machine : undefined;
  const init = machine && (await initOf(client, machine, ref));
  const isTold = init && (await machine.kill(init.pid, init.signal));
  const complaint = await (isTold ? stopBySignal : stopByIncus)(client, ref, options);
  if (complaint === undefined) return;
  if (!options.force) {
    const seconds = Math.ceil(options.timeout / 1000);
    throw new VisibleError(
      `"${ref.name}" did not stop within ${seconds} s${complaint}. It may still be booting: run again later, raise its stopTimeout, or name it in optIn.forceStop.`,
    );
  }
  await setInstanceState(client, ref, { action: "stop", force: true }, { deadline: SLACK });
}

/** A frozen one cannot hear it, another signal may be configured, and Incus may take the end for a crash to repair. */
function maySignal(instance: Instance): boolean {
  const config = instance.expanded_config;
  const usual = !config["raw.lxc"]?.includes("lxc.signal.halt") && config["boot.autorestart"] !== "true";
  return usual && instance.status === "Running";
}

/** Process id of the container's init and the signal that makes it halt. */
async function initOf(
  client: IncusClient,
  machine: HostMachine,
  ref: InstanceRef,
): Promise<{ pid: number; signal: number | "SIGPWR" } | undefined> {
  const state = await getInstanceState(client, ref).catch((error: unknown) => {
    // Seen while it was going down: "Invalid PID".
    if (error instanceof IncusApiError) return undefined;
    throw error;
  });
  if (!state || state.pid <= 1) return undefined;
  const { pid } = state;
  const status = (await machine.read(`/proc/${pid}/status`)) ?? "";
  // First process of a pid namespace of its own, or it is not the one meant.
  if (!/^NSpid:\t\d+(\t\d+)*\t1$/m.test(status)) return undefined;
  const blocked = BigInt(`0x${/^SigBlk:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"}`);
  const blocks = (blocked & (1n << BigInt(SIGRTMIN_PLUS_3 - 1))) !== 0n;
  return { pid, signal: blocks ? SIGRTMIN_PLUS_3 : SIGPWR };
}

async function stopBySignal(
  client: IncusClient,
  ref: InstanceRef,
  { timeout: deadline, signal }: StopOptions,
): Promise<string | undefined> {
  if (!(await poll(() => hasStopped(client, ref), { every: EVERY, deadline, signal }))) return "";
  // Accepted as soon as Incus has taken everything down.
  await changeInstance(client, ref, () => ({}));
  return undefined;
}

async function stopByIncus(
  client: IncusClient,
  ref: InstanceRef,
  { timeout, signal }: StopOptions,
): Promise<string | undefined> {
  const end = performance.now() + timeout;
  let refusal = "";
  const stop = async (): Promise<true | undefined> => {
    const seconds = Math.max(1, Math.ceil((end - performance.now()) / 1000));
    try {
      const wait = { deadline: seconds * 1000 + SLACK, signal };
      await setInstanceState(client, ref, { action: "stop", timeout: seconds }, wait);
      return true;
    } catch (error) {
      if (!(error instanceof IncusApiError || error instanceof DeadlineError)) throw error;
      // Refused at once: Incus was busy with it.
      refusal = ` (${messageOf(error)})`;
      return hasStopped(client, ref);
    }
  };
  return (await poll(stop, { every: EVERY, deadline: timeout - EVERY, signal })) ? undefined : refusal;
}

async function hasStopped(client: IncusClient, ref: InstanceRef): Promise<true | undefined> {
  return (await findInstance(client, ref))?.value.status === "Stopped" || undefined;
}
