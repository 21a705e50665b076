import { IncusApiError, VisibleError } from "../common/errors.ts";
import { poll } from "../common/poll.ts";
import { type IncusClient, noneWhereMissing, type Versioned, type WaitOptions } from "./client.ts";
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

export async function findInstance(
  client: IncusClient,
  ref: InstanceRef,
): Promise<Versioned<Instance> | undefined> {
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
  body: Pick<
    Instance,
    "architecture" | "config" | "devices" | "description" | "ephemeral" | "profiles" | "stateful"
  >,
  etag: string | undefined,
  wait: WaitOptions,
): Promise<Operation> {
  const { architecture, config, devices, description, ephemeral, profiles, stateful } = body;
  return client.run("PUT", path(ref), {
    query: query(ref),
    body: { architecture, config, devices, description, ephemeral, profiles, stateful },
    etag,
    wait,
  });
}

/** Merges config keys and devices into an instance. An empty value removes a config key; the call is synchronous. */
export function patchInstance(
  client: IncusClient,
  ref: InstanceRef,
  change: {
    config?: Record<string, string>;
    devices?: Record<string, Record<string, string>>;
    description?: string;
  },
  etag?: string,
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

/** Milliseconds that Incus may have no file server for an instance, and between two questions. */
const FILE_SERVER_DEADLINE = 5_000;
const FILE_SERVER_EVERY = 100;

/**
 * Asks again while Incus has no file server for an instance: it starts one for each (forkfile), which ends when the
 * instance starts or stops, and a request that falls in between is answered with 500 and the name of its socket.
 */
async function withFileServer<T>(request: () => Promise<T>): Promise<T> {
  let refusal: unknown;
  const answered = await poll(
    async () => {
      try {
        return { value: await request() };
      } catch (error) {
        if (!(error instanceof IncusApiError && error.status === 500 && /forkfile/.test(error.reason)))
          throw error;
        refusal = error;
        return undefined;
      }
    },
    { every: FILE_SERVER_EVERY, deadline: FILE_SERVER_DEADLINE },
  );
  if (!answered) throw refusal;
  return answered.value;
}

/** One file or directory to push. `mode` is octal text such as `0644`. */
export interface FilePush {
  path: string;
  type: "file" | "directory";
  uid: number;
  gid: number;
  mode: string;
  content?: Buffer;
}

/** A file of an instance as it is there. `target` is where a symbolic link leads. */
export interface FoundFile {
  type: string;
  uid: number;
  gid: number;
  /** Octal. */
  mode: string;
  target?: string;
}

/** What is at a path inside an instance; undefined where there is nothing. Follows no link at its end. */
export async function findFile(
  client: IncusClient,
  ref: InstanceRef,
  file: string,
): Promise<FoundFile | undefined> {
  const answer = await withFileServer(() =>
    noneWhereMissing(client.stream(path(ref, "files"), { query: { ...query(ref), path: file } })),
  );
  if (!answer) return undefined;
  const { headers, body } = answer;
  const value = (name: string): string => String(headers[`x-incus-${name}`] ?? "");
  const found = {
    type: value("type"),
    uid: Number(value("uid")),
    gid: Number(value("gid")),
    mode: value("mode"),
  };
  if (found.type === "symlink") return { ...found, target: (await body.text()).trim() };
  await body.dump();
  return found;
}

/** Deletes a file inside an instance. */
export function deleteFile(client: IncusClient, ref: InstanceRef, file: string): Promise<void> {
  return withFileServer(() =>
    client.write("DELETE", path(ref, "files"), { query: { ...query(ref), path: file } }),
  );
}

/** Writes a file or makes a directory inside an instance, running or stopped. Existing directories are left alone. */
export function pushFile(client: IncusClient, ref: InstanceRef, file: FilePush): Promise<void> {
  return withFileServer(() =>
    client.write("POST", path(ref, "files"), {
      query: { ...query(ref), path: file.path },
      headers: {
        "content-type": "application/octet-stream",
        "x-incus-type": file.type,
        "x-incus-uid": String(file.uid),
        "x-incus-gid": String(file.gid),
        "x-incus-mode": file.mode,
        "x-incus-write": "overwrite",
      },
      raw: file.content ?? Buffer.alloc(0),
    }),
  );
}

/** Runs a command in a running instance and returns its exit code. Output is not recorded. */
export async function execInstance(
  client: IncusClient,
  ref: InstanceRef,
  command: string[],
  wait: WaitOptions,
): Promise<number> {
  const operation = await client.run("POST", path(ref, "exec"), {
    query: query(ref),
    body: { command, interactive: false, "wait-for-websocket": false, "record-output": false },
    wait,
  });
  const code = operation.metadata["return"];
  return typeof code === "number" ? code : -1;
}
