import { VisibleError } from "../common/errors.ts";
import type { Found, IncusClient, Versioned, WaitOptions } from "./client.ts";
import { api } from "./paths.ts";
import { Instance, InstanceState, type Operation, Snapshot } from "./schemas.ts";

/** An instance's address in the API. Names are unique within a project. */
export interface InstanceRef {
  project: string;
  name: string;
}

const path = (ref: InstanceRef, ...rest: string[]): string => api("instances", ref.name, ...rest);
const query = (ref: InstanceRef): { project: string } => ({ project: ref.project });

/** Instances of every project without state (recursion=1): one cheap request per host. */
export function listInstances(client: IncusClient): Promise<Instance[]> {
  return client.list(api("instances"), Instance, { query: { recursion: 1, "all-projects": "true" } });
}

export function findInstance(client: IncusClient, ref: InstanceRef): Found<Instance> {
  return client.find(path(ref), Instance, { query: query(ref) });
}

/** An instance that must be there. @throws VisibleError where it is gone */
export async function presentInstance(client: IncusClient, ref: InstanceRef): Promise<Versioned<Instance>> {
  const found = await findInstance(client, ref);
  if (found) return found;
  throw new VisibleError(`Instance "${ref.name}" of project "${ref.project}" is gone.`);
}

export function getInstanceState(client: IncusClient, ref: InstanceRef): Promise<InstanceState> {
  return client.get(path(ref, "state"), InstanceState, { query: query(ref) });
}

export function listSnapshots(client: IncusClient, ref: InstanceRef): Promise<Snapshot[]> {
  return client.list(path(ref, "snapshots"), Snapshot, { query: { ...query(ref), recursion: 1 } });
}

/** Body of POST /1.0/instances. `source` as in the Incus API (`image`, `copy`). */
export interface NewInstance {
  name: string;
  type?: "container";
  description?: string;
  architecture?: string;
  profiles: string[];
  config: Record<string, string>;
  devices: Record<string, Record<string, string>>;
  source: Record<string, unknown>;
  start?: boolean;
}

/** Creates, copies or refreshes an instance. */
export function createInstance(
  client: IncusClient,
  project: string,
  body: NewInstance,
  wait: WaitOptions,
): Promise<Operation> {
  return client.run("POST", api("instances"), { query: { project }, body, wait });
}

/** Replaces the writable part of an instance; send the etag that the read gave. Volatile keys must be in `config`. */
export function putInstance(
  client: IncusClient,
  ref: InstanceRef,
  instance: Instance,
  etag: string | undefined,
  wait: WaitOptions,
): Promise<Operation> {
  const { architecture, config, devices, description, ephemeral, profiles, stateful } = instance;
  const body = { architecture, config, devices, description, ephemeral, profiles, stateful };
  return client.run("PUT", path(ref), { query: query(ref), body, etag, wait });
}

/** Merges config keys and devices into an instance. An empty value removes a config key; the call is synchronous. */
export function patchInstance(
  client: IncusClient,
  ref: InstanceRef,
  change: Partial<Pick<Instance, "config" | "devices" | "description">>,
  etag: string | undefined,
): Promise<void> {
  return client.write("PATCH", path(ref), { query: query(ref), body: change, etag });
}

export function renameInstance(
  client: IncusClient,
  ref: InstanceRef,
  to: string,
  wait: WaitOptions,
): Promise<Operation> {
  return client.run("POST", path(ref), { query: query(ref), body: { name: to }, wait });
}

/**
 * Starts or stops. `timeout` is the daemon's own, in seconds; without it a container that ignores the signal keeps
 * the operation open for 600 s. `wait.deadline` is ours.
 */
export function setInstanceState(
  client: IncusClient,
  ref: InstanceRef,
  change: { action: "start" | "stop"; force?: boolean; timeout?: number },
  wait: WaitOptions,
): Promise<Operation> {
  return client.run("PUT", path(ref, "state"), { query: query(ref), body: change, wait });
}

export function deleteInstance(client: IncusClient, ref: InstanceRef, wait: WaitOptions): Promise<Operation> {
  return client.run("DELETE", path(ref), { query: query(ref), wait });
}

/** Runs a command in a running instance and returns its exit code. Output is not recorded. */
export async function execInstance(
  client: IncusClient,
  ref: InstanceRef,
  command: string[],
  wait: WaitOptions,
): Promise<number> {
  const body = { command, interactive: false, "wait-for-websocket": false, "record-output": false };
  const { metadata } = await client.run("POST", path(ref, "exec"), { query: query(ref), body, wait });
  const code = metadata["return"];
  return typeof code === "number" ? code : -1;
}
