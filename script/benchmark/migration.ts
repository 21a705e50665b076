import { execa } from "execa";
import { IncusClient } from "../../providers/incus/client.ts";
import { migrate } from "../../providers/migration/engine.ts";
import { type IncusDaemon, startDaemon } from "../../test/testbed/daemon.ts";
import { buildBigImage, importImage } from "../../test/testbed/images.ts";
import { OURS, type Row, type Sample, seconds } from "./figures.ts";

const SIZES: Record<string, { fileCount: number; bytes: number }> = {
  "494 MB": { fileCount: 8_400, bytes: 494e6 },
  "2 GB": { fileCount: 34_000, bytes: 2e9 },
};

interface Figures {
  ours: number;
  theirs: number;
  grown: number;
  theirsGrown: number;
  root: number;
}

/** Containers of 494 MB and 2 GB: stopped to started, and how much the pool grew. One round: each has a twin. */
export async function measureMigrations(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const size of Object.keys(SIZES)) {
    const { ours, theirs, grown, theirsGrown, root } = await measure(size);
    const once = (taken: number): Sample => ({ median: taken, least: taken, most: taken });
    print(
      `  pool grew by ${percent(grown / root)} of the root, with incus move by ${percent(theirsGrown / root)}`,
    );
    rows.push({
      what: `migration of ${size}, stopped to started`,
      times: { [OURS]: once(ours), "incus move + start": once(theirs) },
    });
  }
  return rows;
}

async function measure(size: string): Promise<Figures> {
  const wanted = SIZES[size];
  if (!wanted) throw new RangeError(`no size ${size}`);
  const image = await buildBigImage(wanted);
  const daemon = await startDaemon({ name: "bench-migration" });
  try {
    const fingerprint = await importImage(daemon, "big", image);
    await daemon.incus("storage", "create", "default", "dir");
    await daemon.incus(
      "storage",
      "create",
      "cow",
      "btrfs",
      `size=${Math.ceil((wanted.bytes * 5) / 1e9) + 2}GiB`,
    );
    await daemon.incus("network", "create", "incusbr0", "ipv6.address=none");
    await daemon.incus("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default");
    await daemon.incus("profile", "device", "add", "default", "eth0", "nic", "network=incusbr0");
    print(`${size}: warming image ${fingerprint.slice(0, 12)}`);
    await daemon.incus("create", "big", "warm", "--storage=cow");
    await daemon.incus("delete", "warm");
    for (const name of ["mary", "twin"]) await makeAgent(daemon, name);

    const before = await used(daemon);
    const ours = await moveOurs(daemon);
    const between = await used(daemon);
    const theirs = await moveTheirs(daemon);
    const after = await used(daemon);
    const root = Number(
      (await execa("du", ["-s", "--block-size=1", daemon.rootfs("cow", "twin")])).stdout.split("\t")[0],
    );
    return { ours, theirs, grown: between - before, theirsGrown: after - between, root };
  } finally {
    await daemon.remove();
  }
}

/** A container with some memory of its own: new files, changed ones, links. */
async function makeAgent(daemon: IncusDaemon, name: string): Promise<void> {
  await daemon.incus("launch", "big", name);
  const memory =
    "mkdir /memory; for n in $(seq 50); do head -c 400000 /dev/urandom >/memory/$n; done; ln /memory/1 /memory/one";
  await daemon.incus("exec", name, "--", "sh", "-c", memory);
  await daemon.ipv4(name);
}

/** Milliseconds from stopped to started. */
async function moveOurs(daemon: IncusDaemon): Promise<number> {
  const client = new IncusClient({ name: daemon.name, connection: `unix:${daemon.socketPath}` });
  const request = { project: "default", name: "mary", target: "cow", owner: "benchmark" };
  const started = performance.now();
  const { downtime } = await migrate(
    client,
    { ...request, forceStop: false, stopTimeout: 30_000 },
    { progress: (line) => print(`  ${seconds(performance.now() - started)} ${line}`) },
  );
  await client.close();
  return downtime ?? Number.NaN;
}

/** Milliseconds of Incus' own way, without the stop. */
async function moveTheirs(daemon: IncusDaemon): Promise<number> {
  await daemon.incus("stop", "twin");
  const started = performance.now();
  await execa("incus", ["move", "twin", "--storage=cow"], {
    env: daemon.env,
    stdin: "ignore",
    timeout: 600_000,
  });
  await daemon.incus("start", "twin");
  return performance.now() - started;
}

/** Bytes in use on the target pool, everything written out. */
async function used(daemon: IncusDaemon): Promise<number> {
  await execa("sync");
  const { space } = await daemon.query<{ space: { used: number } }>("/1.0/storage-pools/cow/resources");
  return space.used;
}

function percent(part: number): string {
  return `${(part * 100).toFixed(0)} %`;
}

function print(line: string): void {
  process.stderr.write(`${line}\n`);
}
