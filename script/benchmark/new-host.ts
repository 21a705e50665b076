import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { stringify } from "yaml";
import { PROJECT_ROOT } from "../../infra/config/project.ts";
import { type IncusDaemon, startDaemon } from "../../test/testbed/daemon.ts";
import { type BigImage, buildBigImage } from "../../test/testbed/images.ts";
import { measureRounds, OURS, type Row } from "./figures.ts";
import { ALIAS } from "./scene.ts";

const AGENTS = ["one", "two", "three"];
const WHAT = "a new host: pool, bridge, profile, image, 3 agents with an IPv4";

/** From a daemon that has nothing, and an image file, to three agents. */
export async function measureNewHost(rounds: number): Promise<Row[]> {
  const daemon = await startDaemon({ name: "bench-new-host" });
  try {
    const image = await buildBigImage({ fileCount: 8_400, bytes: 200e6 });
    const virgin = { what: "", by: "", run: () => daemon.reset() };
    return await measureRounds(rounds, [
      { what: WHAT, by: OURS, run: () => ours(daemon, image) },
      virgin,
      { what: WHAT, by: "script of the incus client", run: () => script(daemon, image) },
      virgin,
    ]);
  } finally {
    await daemon.remove();
  }
}

async function ours(daemon: IncusDaemon, { metadataFile, rootfsFile }: BigImage): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "taos-hosts-bench-"));
  try {
    const file = join(directory, "Pulumi.bench.yaml");
    await mkdir(join(directory, "backend"));
    const board = {
      connection: `unix:${daemon.socketPath}`,
      pool: { size: "8GiB" },
      images: [{ alias: ALIAS, metadata: metadataFile, rootfs: rootfsFile }],
      agents: Object.fromEntries(AGENTS.map((name) => [name, { image: ALIAS }])),
    };
    await writeFile(file, stringify({ config: { "taos-hosts:hosts": { board } } }));
    const state = {
      PULUMI_BACKEND_URL: `file://${join(directory, "backend")}`,
      PULUMI_CONFIG_PASSPHRASE: "bench",
    };
    const args = ["run", "up", "--", "--yes", "--stack", "bench", "--config-file", file];
    await execa("npm", args, { cwd: PROJECT_ROOT, env: state, stdin: "ignore", timeout: 300_000 });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function script(daemon: IncusDaemon, { metadataFile, rootfsFile }: BigImage): Promise<void> {
  await daemon.incus("storage", "create", "default", "btrfs", "size=8GiB");
  await daemon.incus("network", "create", "incusbr0", "ipv6.address=none");
  await daemon.incus("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default");
  await daemon.incus("profile", "device", "add", "default", "eth0", "nic", "network=incusbr0");
  await daemon.incus("image", "import", metadataFile, rootfsFile, "--alias", ALIAS);
  for (const name of AGENTS) await daemon.incus("launch", ALIAS, name);
  await Promise.all(AGENTS.map((name) => daemon.ipv4(name)));
}
