import { execa } from "execa";
import { IncusClient } from "../../../providers/incus/client.ts";
import { type MigrationOptions, migrate } from "../../../providers/migration/engine.ts";
import type { MoveRequest } from "../../../providers/migration/move.ts";
import { type DaemonOptions, type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { importImage } from "../../testbed/images.ts";
import { diffManifests, type Manifest, manifest } from "../../testbed/manifest.ts";

/** A host as found: containers on the `dir` pool "default", and "cow" to move to. */
export async function startHost(
  name: string,
  cowSize = "1GiB",
  options: Omit<DaemonOptions, "name"> = {},
): Promise<IncusDaemon> {
  const daemon = await startDaemon({ name, ...options });
  await importImage(daemon, "bb");
  await daemon.incus("storage", "create", "default", "dir");
  await daemon.incus("storage", "create", "cow", "btrfs", `size=${cowSize}`);
  await daemon.incus("network", "create", "incusbr0", "ipv6.address=none");
  await daemon.incus("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default");
  await daemon.incus("profile", "device", "add", "default", "eth0", "nic", "network=incusbr0");
  return daemon;
}

/** A running container with a snapshot, and files that differ between it and now, some of them linked. */
export async function makeContainer(daemon: IncusDaemon, name: string): Promise<void> {
  await daemon.incus("launch", "bb", name);
  await shell(
    daemon,
    name,
    "echo memory >/srv/old && ln /srv/old /srv/old-too && ln /bin/busybox /srv/busybox",
  );
  await daemon.incus("snapshot", "create", name, "before");
  await shell(
    daemon,
    name,
    "echo more >>/srv/old && mkdir -p /srv/deep/er && ln /srv/old /srv/deep/er/link && mkfifo /srv/fifo",
  );
  await daemon.ipv4(name);
}

/** Runs a command line in a container. */
export async function shell(daemon: IncusDaemon, name: string, line: string): Promise<string> {
  return daemon.incus("exec", name, "--", "sh", "-c", line);
}

export function requestFor(name: string, change: Partial<MoveRequest> = {}): MoveRequest {
  return {
    ...{ project: "default", name, target: "cow", owner: "test/stack/host" },
    ...{ forceStop: false, stopTimeout: 20_000 },
    ...change,
  };
}

/** A client of its own, as another process would have. */
export function connect(daemon: IncusDaemon, socketPath = daemon.socketPath): IncusClient {
  // Behind a proxy the socket's place does not tell where the host's files are.
  process.env["INCUS_DIR"] = daemon.dir;
  return new IncusClient({ name: daemon.name, connection: `unix:${socketPath}` });
}

export interface Told {
  lines: string[];
  downtime: number | undefined;
}

/** Migrates and returns what the log said. */
export async function run(
  daemon: IncusDaemon,
  request: MoveRequest,
  options: Partial<MigrationOptions> & { socketPath?: string } = {},
): Promise<Told> {
  const lines: string[] = [];
  const client = connect(daemon, options.socketPath);
  try {
    const { downtime } = await migrate(client, request, { progress: (line) => lines.push(line), ...options });
    return { lines, downtime };
  } finally {
    await client.close();
  }
}

/** The process that a killed provider is: ends itself with SIGKILL at `dieAt`. @returns what it printed */
export async function runAndDie(
  daemon: IncusDaemon,
  request: MoveRequest,
  dieAt: string,
  task: "migrate" | "rollBack" = "migrate",
): Promise<string> {
  const script = `${import.meta.dirname}/migrate-child.ts`;
  const argument = JSON.stringify({ connection: `unix:${daemon.socketPath}`, request, dieAt, task });
  const result = await execa(process.execPath, [script, argument], {
    reject: false,
    all: true,
    stdin: "ignore",
    timeout: 60_000,
  });
  return result.all;
}

/** What a second reader sees of one instance. */
export type Shown = {
  name: string;
  status: string;
  description: string;
  config: Record<string, string>;
  devices: Record<string, Record<string, string>>;
  expanded_devices: Record<string, Record<string, string>>;
  profiles: string[];
  snapshots:
    | { name: string; created_at: string; expires_at: string; config: Record<string, string> }[]
    | null;
};

export async function show(daemon: IncusDaemon, project = "default"): Promise<Shown[]> {
  return daemon.query<Shown[]>(`/1.0/instances?recursion=2&project=${project}`);
}

/** Manifests of a container's root and of its snapshots, by snapshot name; `""` is the root. */
export async function manifestsOf(
  daemon: IncusDaemon,
  pool: string,
  name: string,
  snapshots: string[],
  project = "default",
): Promise<Map<string, Manifest>> {
  const root = daemon.rootfs(pool, name, project);
  const found = new Map([["", await manifest(root)]]);
  for (const snapshot of snapshots) {
    const path = root
      .replace("/containers/", "/containers-snapshots/")
      .replace(/\/rootfs$/, `/${snapshot}/rootfs`);
    found.set(snapshot, await manifest(path));
  }
  return found;
}

/** All differences between two sets of manifests; empty means nothing was lost. */
export function differencesOf(
  before: Map<string, Manifest>,
  after: Map<string, Manifest>,
  ignore: (path: string) => boolean = () => false,
): string[] {
  const lines: string[] = [];
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    const options = name === "" ? { ignore } : {};
    const found = diffManifests(before.get(name) ?? new Map(), after.get(name) ?? new Map(), options);
    lines.push(...found.map((line) => `${name || "root"}: ${line}`));
  }
  return lines;
}

/** Deletes all instances of the host. */
export async function clear(daemon: IncusDaemon): Promise<void> {
  const instances = await daemon.query<{ name: string; project: string; config: Record<string, string> }[]>(
    "/1.0/instances?recursion=1&all-projects=true",
  );
  for (const { name, project, config } of instances) {
    if (config["security.protection.delete"] === "true") {
      await daemon.incus("config", "set", name, "security.protection.delete=false", `--project=${project}`);
    }
    await daemon.incus("delete", "--force", name, `--project=${project}`);
  }
}
