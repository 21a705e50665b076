import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import type { PulumiRun } from "../pulumi/run.ts";
import { shippedHosts } from "../pulumi/shipped-stack.ts";
import type { HostsConfig, TestStack } from "../pulumi/stack.ts";
import type { IncusDaemon } from "../testbed/daemon.ts";
import { until } from "../testbed/deadline.ts";
import { setUpHost } from "../testbed/host-setup.ts";
import { type BigImage, importImage } from "../testbed/images.ts";
import { diffManifests, manifest } from "../testbed/manifest.ts";

type Json = Record<string, unknown>;

/** Project of a user of group `incus`, as incus-user makes it: profiles of its own. */
export const USER_PROJECT = "user-1000";
/** What a test container's init writes at each start. */
const WRITTEN_AT_START = ["dev", "etc/resolv.conf"];

/** A host as found: a dir pool with everything on it, an image `bb`, a bridge. */
export async function setUpDirHost(d: IncusDaemon, image?: BigImage): Promise<void> {
  await setUpHost(d, { driver: "dir" });
  await importImage(d, "bb", image);
}

/** A project with profiles of its own, whose default profile names pool `default`. */
export async function addUserProject(d: IncusDaemon): Promise<void> {
  await d.incus("project", "create", USER_PROJECT, "-c", "features.images=false");
  const add = ["--project", USER_PROJECT, "profile", "device", "add", "default"];
  await d.incus(...add, "root", "disk", "path=/", "pool=default");
  await d.incus(...add, "eth0", "nic", "network=incusbr0", "name=eth0");
}

/**
 * The shipped stacks/Pulumi.existing-host.yaml over a test's host. Replaced are the connection and the pool's size;
 * `change` is over it, `optIn` over the shipped switches.
 */
export async function twin(
  d: { socketPath: string },
  { optIn = {}, containers, ...change }: { optIn?: Record<string, string[]>; containers?: Json } & Json = {},
): Promise<HostsConfig> {
  const { board: shipped = {} } = await shippedHosts("existing-host");
  return {
    board: {
      ...shipped,
      connection: `unix:${d.socketPath}`,
      pool: { ...(shipped["pool"] as Json), size: "6GiB" },
      containers: containers ?? shipped["containers"],
      ...change,
      optIn: { ...(shipped["optIn"] as Json), ...optIn },
    },
  };
}

/** What a second reader sees of one instance. */
export type Shown = {
  name: string;
  project: string;
  status: string;
  description: string;
  created_at: string;
  config: Record<string, string>;
  devices: Record<string, Record<string, string>>;
  expanded_devices: Record<string, Record<string, string>> | null;
  profiles: string[];
  snapshots: { name: string; created_at: string; expires_at: string; config: Json }[] | null;
  state: { pid: number };
};

export async function instancesOf(d: IncusDaemon): Promise<Shown[]> {
  const all = await d.query<Shown[]>("/1.0/instances?recursion=2&all-projects=true");
  return all.toSorted((a, b) => a.name.localeCompare(b.name));
}

export async function instanceOf(d: IncusDaemon, name: string): Promise<Shown> {
  const found = (await instancesOf(d)).find((one) => one.name === name);
  if (!found) throw new Error(`There is no instance ${name}`);
  return found;
}

/** `name status pool` of every instance: what is left over shows. */
export async function placesOf(d: IncusDaemon): Promise<string[]> {
  // While an instance is being made it has no devices yet.
  const places = (await instancesOf(d)).map(
    ({ name, status, expanded_devices: devices }) =>
      `${name} ${status} ${devices?.["root"]?.["pool"] ?? "nowhere"}`,
  );
  return places.sort();
}

/** The name a container's source is parked under. */
export function parkedOf({ name, config }: Shown): string {
  return `${name}-parked-${config["volatile.uuid"]?.slice(0, 8)}`;
}

/** Everything of an instance that a migration must keep; what Incus makes anew at each start is left out. */
export function keptOf({ config, devices, profiles, description, snapshots, status }: Shown): Json {
  const keys = Object.keys(config).filter((key) => !/^user\.taos\.|\.host_name$|\.last_state\./.test(key));
  const { root: _root, ...others } = devices;
  return {
    config: Object.fromEntries(keys.map((key) => [key, config[key]])),
    devices: others,
    ...{ profiles, description, status },
    snapshots: (snapshots ?? []).map(({ name, created_at, expires_at, config: own }) => ({
      ...{ name, created_at, expires_at, config: own },
    })),
  };
}

/** Directory of an instance's root, or of one of its snapshots. */
export function rootOf(d: IncusDaemon, pool: string, { name, project }: Shown, snapshot?: string): string {
  const root = d.rootfs(pool, name, project);
  if (snapshot === undefined) return root;
  return root.replace("/containers/", "/containers-snapshots/").replace(/\/rootfs$/, `/${snapshot}/rootfs`);
}

/**
 * What differs between a parked source and its successor, in root and all snapshots; empty when nothing was lost. The
 * parked source is the state at the stop: nothing has written to it since.
 */
export async function lostIn(
  d: IncusDaemon,
  parked: Shown,
  moved: Shown,
  written: string[] = [],
): Promise<string[]> {
  const [from, to] = [parked, moved].map((one) => one.expanded_devices?.["root"]?.["pool"] ?? "");
  const lines: string[] = [];
  for (const snapshot of [undefined, ...(parked.snapshots ?? []).map(({ name }) => name)]) {
    const before = await manifest(rootOf(d, from ?? "", parked, snapshot));
    const after = await manifest(rootOf(d, to ?? "", moved, snapshot));
    const touched =
      snapshot === undefined && moved.status === "Running" ? [...WRITTEN_AT_START, ...written] : [];
    const ignore = (path: string): boolean =>
      touched.some((one) => path === one || path.startsWith(`${one}/`));
    lines.push(...diffManifests(before, after, { ignore }).map((line) => `${snapshot ?? "root"}: ${line}`));
  }
  return lines;
}

/** Runs a command line in a container. */
export async function shell(d: IncusDaemon, name: string, line: string): Promise<string> {
  return d.incus("exec", name, "--", "sh", "-c", line);
}

/** A small container with memories: links among its files and to the image's, and snapshots of different content. */
export async function makeContainer(
  d: IncusDaemon,
  name: string,
  { snapshots = ["monday"], flags = [] }: { snapshots?: string[]; flags?: string[] } = {},
): Promise<void> {
  await d.incus("launch", "bb", name, ...flags);
  await shell(d, name, "echo memory >/srv/notes; ln /srv/notes /srv/notes-too; ln /bin/busybox /srv/busybox");
  for (const snapshot of snapshots) {
    await shell(d, name, `echo ${snapshot} >>/srv/notes; echo ${snapshot} >/srv/${snapshot}`);
    await d.incus("snapshot", "create", name, snapshot);
  }
  await shell(
    d,
    name,
    "rm -f /srv/monday; mkdir -p /srv/a/b; ln /srv/notes /srv/a/b/notes; mkfifo /srv/fifo",
  );
}

/** What providers and program have said so far in the newest run of a stack. */
async function saidBy(stack: TestStack): Promise<string> {
  const logs = (await readdir(stack.dir)).filter((name) => /^events-\d+-/.test(name));
  const newest = logs.toSorted((a, b) => numberOf(b) - numberOf(a))[0];
  return newest === undefined ? "" : readFile(join(stack.dir, newest), "utf8");
}

/** Waits until a run has said something. @throws Error with what it said where it ended without it */
export async function reaches(stack: TestStack, run: PulumiRun, phase: RegExp): Promise<void> {
  let ended: string | undefined;
  run.result.then(
    ({ output }) => {
      ended = output;
    },
    (error: unknown) => {
      ended = String(error);
    },
  );
  await until(
    async () => {
      if (phase.test(await saidBy(stack))) return true;
      if (ended !== undefined) throw new Error(`The run ended without ${phase}:\n${ended}`);
      return false;
    },
    { what: `the run to say ${phase}`, everyMs: 5, deadlineMs: 60_000 },
  );
}

function numberOf(log: string): number {
  return Number(/^events-(\d+)-/.exec(log)?.[1]);
}

/** Bytes that paths occupy on disk, as `du` counts. */
export async function occupied(...paths: string[]): Promise<number> {
  const { stdout } = await execa("du", ["--summarize", "--block-size=1", "--total", "--", ...paths], {
    stdin: "ignore",
  });
  return Number(stdout.split("\n").at(-1)?.split("\t")[0]);
}
