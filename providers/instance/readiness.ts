import { setTimeout as delay } from "node:timers/promises";
import { IncusApiError, VisibleError } from "../common/errors.ts";
import { lifetimeSignal } from "../common/lifetime.ts";
import type { IncusClient } from "../incus/client.ts";
import { execInstance, getInstanceState, type InstanceRef } from "../incus/instances.ts";
import { listLeases } from "../incus/networks.ts";
import type { Instance, InstanceState } from "../incus/schemas.ts";
import { shared } from "../incus/shared.ts";
import type { Readiness } from "./config.ts";

/** No Incus event means "got an address", so addresses are polled, in milliseconds. */
const POLL = 100;
/** Containers without a lease (static addresses, foreign networks) are asked this often, and commands are run. */
const SLOW_POLL = 500;

/** Global IPv4 addresses of all interfaces apart from loopback. */
function globalAddresses(state: InstanceState): string[] {
  return Object.entries(state.network)
    .filter(([name]) => name !== "lo")
    .flatMap(([, { addresses }]) => addresses)
    .filter(({ family, scope }) => family === "inet" && scope === "global")
    .map(({ address }) => address);
}

/** Interfaces on managed networks: network and MAC. */
function leasedInterfaces(instance: Instance): { network: string; hwaddr: string }[] {
  return Object.entries(instance.expanded_devices).flatMap(([name, device]) => {
    const network = device["network"];
    const hwaddr = device["hwaddr"] ?? instance.config[`volatile.${name}.hwaddr`];
    return device["type"] === "nic" && network && hwaddr ? [{ network, hwaddr }] : [];
  });
}

/** The instance's IPv4 by its network's leases: one request per network for all instances that ask at once. */
export async function leasedAddress(
  client: IncusClient,
  instance: Instance,
  freshFor?: number,
): Promise<string | undefined> {
  for (const { network, hwaddr } of leasedInterfaces(instance)) {
    const { project } = instance;
    const leases = await shared(
      client,
      `leases:${project}:${network}`,
      () => listLeases(client, network, project).catch(() => []),
      freshFor,
    );
    const lease = leases.find((one) => one.hwaddr === hwaddr && one.address.includes("."));
    if (lease) return lease.address;
  }
  return undefined;
}

/**
 * Waits until a started instance is ready and returns its first IPv4 address (empty where `ready` asks for none).
 * @param timeout milliseconds
 * @throws VisibleError naming the instance when the time is over; the instance stays as it is
 */
export async function waitReady(
  client: IncusClient,
  instance: Instance,
  ready: Readiness,
  timeout: number,
): Promise<string> {
  const ref: InstanceRef = { project: instance.project, name: instance.name };
  const end = Date.now() + timeout;
  let askState = 0;
  let address: string | undefined;
  const signal = lifetimeSignal();
  while (ready !== "none") {
    const leased = ready === "network" ? await leasedAddress(client, instance, POLL / 2) : undefined;
    if (leased !== undefined || Date.now() >= askState) {
      askState = Date.now() + SLOW_POLL;
      // Incus answers 500 while the container's init ends ("Invalid PID"): the next look tells more.
      const state = await getInstanceState(client, ref).catch((error: unknown) => {
        if (error instanceof IncusApiError && error.status === 500 && Date.now() < end) return undefined;
        throw error;
      });
      address = state && globalAddresses(state)[0];
      if (state?.status === "Stopped") {
        throw new VisibleError(
          `Instance "${ref.name}" stopped while it was waited for. Look at: incus console ${ref.name} --show-log`,
        );
      }
      const done =
        ready === "network"
          ? address !== undefined
          : (await runCommand(client, ref, ready.command, end)) === 0;
      if (done) return address ?? "";
    }
    if (Date.now() >= end) {
      const what =
        ready === "network" ? "has no IPv4 address" : `does not pass ${JSON.stringify(ready.command[0])}`;
      throw new VisibleError(
        `Instance "${ref.name}" ${what} after ${Math.round(timeout / 1000)} s. It keeps running; look at its log, correct it and run up again, or set ready: none.`,
      );
    }
    await delay(POLL, undefined, { signal }).catch(() => {
      throw signal.reason;
    });
  }
  return "";
}

async function runCommand(
  client: IncusClient,
  ref: InstanceRef,
  command: string[],
  end: number,
): Promise<number> {
  // A container that has just been started may not be able to exec yet: that is "not ready", not a failure.
  return execInstance(client, ref, command, { deadline: Math.max(1_000, end - Date.now()) }).catch(() => -1);
}
