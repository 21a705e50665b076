import { createHash } from "node:crypto";
import type { IncusDaemon } from "../testbed/daemon.ts";
import { until } from "../testbed/deadline.ts";
import { type Manifest, manifest } from "../testbed/manifest.ts";
import { sharedDir } from "./host.ts";

type Devices = Record<string, Record<string, string>>;

type Answer = {
  name: string;
  project: string;
  status: string;
  description: string;
  created_at: string;
  config: Record<string, string>;
  devices: Devices | null;
  expanded_devices: Devices | null;
  profiles: string[];
  snapshots:
    | { name: string; created_at: string; expires_at: string; config: Record<string, string> }[]
    | null;
  state: { pid: number };
};

/** One instance as the incus client and the file system show it. */
export type SeenInstance = {
  /** `project/name`. */
  ref: string;
  name: string;
  project: string;
  status: string;
  pid: number;
  /** Pool of its root disk. */
  pool: string;
  config: Record<string, string>;
  /** All that a migration must keep, and what must stay as it is where nobody opted in; canonical JSON. */
  kept: string;
  /** All that may not change at all; canonical JSON. */
  whole: string;
  /** Manifest of the root (`""`) and of each snapshot, by its name. */
  contents: Map<string, Manifest>;
  /** Digest of each of `contents`. */
  digests: Map<string, string>;
};

/** Everything on a host that a run could change. */
export type World = {
  instances: Map<string, SeenInstance>;
  /** Pools, profiles, networks, images, projects, by kind and name; canonical JSON. */
  objects: Map<string, string>;
  /** Digest of the host's directory that containers share. */
  shared: string;
};

/** What a container's init and Incus write at each start. */
const isWrittenAtStart = (path: string): boolean => /^(dev(\/|$)|etc\/resolv\.conf$)/.test(path);

/** Looks at everything. Reads by the incus client and the file system alone. */
export async function lookAtWorld(d: IncusDaemon): Promise<World> {
  const answers = await until(() => listInstances(d), { what: "instances to be listed with their devices" });
  const instances = new Map<string, SeenInstance>();
  for (const answer of answers) {
    const seen = await see(d, answer);
    instances.set(seen.ref, seen);
  }
  return { instances, objects: await seeObjects(d), shared: digestOf(await manifest(sharedDir(d))) };
}

/** While an instance is going down or being made Incus lists it without its devices. */
async function listInstances(d: IncusDaemon): Promise<Answer[] | undefined> {
  const all = await d.query<Answer[]>("/1.0/instances?recursion=2&all-projects=true");
  return all.every(({ devices, expanded_devices: expanded }) => devices && expanded) ? all : undefined;
}

async function see(d: IncusDaemon, answer: Answer): Promise<SeenInstance> {
  const { name, project, status, config, devices } = answer;
  const root = Object.values(answer.expanded_devices ?? {}).find(({ path }) => path === "/");
  const pool = root?.["pool"] ?? "";
  const contents = new Map<string, Manifest>();
  const at = d.rootfs(pool, name, project);
  if (pool !== "") {
    contents.set("", await read(at));
    for (const snapshot of answer.snapshots ?? []) {
      const there = at
        .replace("/containers/", "/containers-snapshots/")
        .replace(/\/rootfs$/, `/${snapshot.name}/rootfs`);
      contents.set(snapshot.name, await read(there));
    }
  }
  const settings = { profiles: answer.profiles, description: answer.description };
  const own = Object.fromEntries(Object.entries(devices ?? {}).filter(([, { path }]) => path !== "/"));
  return {
    ...{ ref: `${project}/${name}`, name, project, status, pool, config, pid: answer.state.pid },
    kept: canonical({
      ...settings,
      config: without(config, /^user\.taos\.|\.host_name$|\.last_state\./),
      devices: own,
      snapshots: (answer.snapshots ?? []).map((one) => [one.name, one.created_at, one.expires_at]).sort(),
    }),
    whole: canonical({
      ...settings,
      ...{ config, devices, pool, created: answer.created_at },
      snapshots: answer.snapshots ?? [],
    }),
    contents,
    digests: new Map([...contents].map(([key, one]) => [key, digestOf(one)])),
  };
}

/** A file that a running container replaces between two looks makes one attempt fail. */
async function read(root: string): Promise<Manifest> {
  for (let attempt = 1; ; attempt++) {
    try {
      const found = await manifest(root);
      for (const path of [...found.keys()].filter(isWrittenAtStart)) found.delete(path);
      return found;
    } catch (error) {
      if (attempt === 3) throw error;
    }
  }
}

async function seeObjects(d: IncusDaemon): Promise<Map<string, string>> {
  const objects = new Map<string, string>();
  for (const kind of ["storage-pools", "networks", "profiles", "images", "projects"]) {
    const all = kind === "profiles" || kind === "images" ? "&all-projects=true" : "";
    for (const object of await d.query<Record<string, unknown>[]>(`/1.0/${kind}?recursion=1${all}`)) {
      const { used_by: _usedBy, last_used_at: _lastUsed, ...rest } = object;
      const name = String(object["name"] ?? object["fingerprint"]);
      objects.set(`${kind} ${object["project"] ?? "default"}/${name}`, canonical(rest));
    }
  }
  return objects;
}

function without(config: Record<string, string>, keys: RegExp): Record<string, string> {
  return Object.fromEntries(Object.entries(config).filter(([key]) => !keys.test(key)));
}

/** JSON with sorted keys. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

function digestOf(tree: Manifest): string {
  const hash = createHash("sha256");
  for (const path of [...tree.keys()].sort()) {
    const entry = Object.entries(tree.get(path) ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
    const text = JSON.stringify([path, entry], (_key, inner: unknown) =>
      typeof inner === "bigint" ? String(inner) : inner,
    );
    hash.update(text).update("\n");
  }
  return hash.digest("hex");
}
