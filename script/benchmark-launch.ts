import { get, ownerMark } from "@taos-hosts/providers";
import { createStack, errorsOf, type RunResult } from "../test/pulumi/stack.ts";
import { startDaemon } from "../test/testbed/daemon.ts";
import { buildBigImage, importImage } from "../test/testbed/images.ts";

/*
 * Measures on a private daemon what copy-on-write storage is for: launches of a 494 MB image on dir and on btrfs, ten
 * agents at once until each has an IPv4 address, and `pulumi up` with them and with nothing to do.
 */
const IMAGE = { fileCount: 8_400, bytes: 494e6 };
const ALIAS = "taos-openclaw-base";
const AGENTS = Array.from({ length: 10 }, (_, index) => `taos-agent-${index}`);
/** Launches of which the median counts. */
const LAUNCHES = 3;

const daemon = await startDaemon({ name: "bench-launch" });
try {
  await setUp();
  await measureLaunches();
  await measureAgents();
  await measureUp();
} finally {
  await daemon.remove();
}
// Connections to the daemon are kept alive.
process.exit(0);

async function setUp(): Promise<void> {
  await importImage(daemon, ALIAS, await buildBigImage(IMAGE));
  await daemon.incus("storage", "create", "plain", "dir");
  await daemon.incus("storage", "create", "default", "btrfs", "size=6GiB");
  await daemon.incus("network", "create", "incusbr0", "ipv6.address=none");
  await daemon.incus("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default");
  await daemon.incus("profile", "device", "add", "default", "eth0", "nic", "network=incusbr0");
}

async function measureLaunches(): Promise<void> {
  const plain = await median("plain");
  const first = await launch("default");
  const later = await median("default");
  print(`launch on dir: ${seconds(plain)}`);
  print(
    `launch on btrfs, the first, which unpacks the image: ${seconds(first)}, ${ratio(first, plain)} of dir`,
  );
  print(`launch on btrfs, later ones: ${seconds(later)}, ${ratio(later, plain)} of dir`);
}

async function median(pool: string): Promise<number> {
  const times: number[] = [];
  for (let n = 0; n < LAUNCHES; n++) times.push(await launch(pool));
  return times.sort((a, b) => a - b)[Math.floor(LAUNCHES / 2)] ?? Number.NaN;
}

/** Milliseconds of `incus launch`; the container is deleted afterwards. */
async function launch(pool: string): Promise<number> {
  const started = performance.now();
  await daemon.incus("launch", ALIAS, "probe", "--storage", pool);
  const took = performance.now() - started;
  await daemon.incus("delete", "--force", "probe");
  return took;
}

/** Ten agents through the provider alone, without Pulumi around it. */
async function measureAgents(): Promise<void> {
  const host = { name: "bench", connection: `unix:${daemon.socketPath}` };
  const started = performance.now();
  await Promise.all(
    AGENTS.map((name) =>
      get("Instance").create({
        host,
        owner: ownerMark("taos-hosts", "bench", host.name, name),
        name,
        image: ALIAS,
        pool: "default",
      }),
    ),
  );
  print(`10 agents in parallel, until each has an IPv4: ${seconds(performance.now() - started)}`);
  await daemon.incus("delete", "--force", ...AGENTS);
}

async function measureUp(): Promise<void> {
  const host = { connection: `unix:${daemon.socketPath}`, images: [ALIAS] };
  const agents = Object.fromEntries(AGENTS.map((name) => [name, { image: ALIAS }]));
  const stack = await createStack({ name: "bench", hosts: { bench: host } });
  try {
    await timed(() => stack.up());
    await stack.setHosts({ bench: { ...host, agents } });
    print(`\`up\` that makes 10 agents: ${seconds(await timed(() => stack.up()))}`);
    print(`\`up\` with nothing to do: ${seconds(await timed(() => stack.up()))}`);
  } finally {
    await stack.remove();
  }
}

async function timed(run: () => Promise<RunResult>): Promise<number> {
  const started = performance.now();
  const result = await run();
  if (result.exitCode !== 0) throw new Error(`The run failed: ${errorsOf(result)}`);
  return performance.now() - started;
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(2)} s`;
}

function ratio(part: number, whole: number): string {
  return (part / whole).toFixed(2);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
