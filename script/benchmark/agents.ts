import { setTimeout as sleep } from "node:timers/promises";
import { clientFor, get, ownerMark } from "@taos-hosts/providers";
import type { IncusDaemon } from "../../test/testbed/daemon.ts";
import { measureRounds, OURS, type Row } from "./figures.ts";
import { ALIAS, withScene } from "./scene.ts";

/** Twenty small files and some environment, as an agent's deploy writes them. */
const FILES = Array.from({ length: 20 }, (_, n) => ({
  path: `/root/.openclaw/file-${n}`,
  content: "x".repeat(2_000),
}));
const ENVIRONMENT = Object.fromEntries(
  Array.from({ length: 15 }, (_, n) => [`TAOS_VALUE_${n}`, `value-${n}`]),
);

/** One agent by the provider's create call, beside raw requests and beside what taOS does today on `dir`. */
export function measureAgents(rounds: number): Promise<Row[]> {
  return withScene("bench-agents", (daemon) => {
    const make = (more: Record<string, unknown> = {}): Promise<unknown> => {
      const host = { name: "bench", connection: `unix:${daemon.socketPath}` };
      const owner = ownerMark("taos-hosts", "bench", host.name, "ours");
      return get("Instance").create({ host, owner, name: "ours", image: ALIAS, pool: "default", ...more });
    };
    const remove = (name: string) => ({
      what: "",
      by: "",
      run: () => daemon.incus("delete", "--force", name),
    });
    const one = "one agent, until it has an IPv4";
    const launch = "`incus launch` of the image";
    return measureRounds(rounds, [
      { what: launch, by: "btrfs, warm", run: () => daemon.incus("launch", ALIAS, "warm") },
      remove("warm"),
      { what: launch, by: "dir", run: () => daemon.incus("launch", ALIAS, "cold", "--storage", "plain") },
      remove("cold"),
      { what: one, by: OURS, run: () => make() },
      remove("ours"),
      { what: one, by: "raw requests", run: () => makeRaw(daemon) },
      remove("raw"),
      { what: one, by: "taOS' sequence on dir", run: () => makeAsTaos(daemon) },
      remove("taos"),
      {
        what: "the same with 20 files and 15 variables",
        by: OURS,
        run: () => make({ files: FILES, environment: ENVIRONMENT }),
      },
      remove("ours"),
    ]);
  });
}

/** The least that the API takes: create, start, ask for the address. */
async function makeRaw(daemon: IncusDaemon): Promise<void> {
  const client = clientFor({ name: "raw", connection: `unix:${daemon.socketPath}` });
  const body = { name: "raw", source: { type: "image", alias: ALIAS }, start: true };
  await client.run("POST", "/1.0/instances", { body, wait: { deadline: 120_000 } });
  await daemon.ipv4("raw");
}

/** What taOS' deployer runs: settings one by one after the launch, a restart for the id map, a fixed sleep, slow polls. */
async function makeAsTaos(daemon: IncusDaemon): Promise<void> {
  await daemon.incus("launch", ALIAS, "taos", "--storage", "plain");
  await daemon.incus("config", "set", "taos", "raw.idmap", "both 1000 0");
  await daemon.incus("stop", "--force", "taos");
  await daemon.incus("start", "taos");
  await sleep(3_000);
  await daemon.incus("config", "set", "taos", "limits.memory", "1GiB");
  await daemon.incus("config", "set", "taos", "limits.cpu", "1");
  for (const [name, value] of Object.entries(ENVIRONMENT))
    await daemon.incus("config", "set", "taos", `environment.${name}=${value}`);
  for (let attempt = 0; attempt < 10; attempt++) {
    const addresses = await daemon.incus("exec", "taos", "--", "ip", "-4", "addr", "show", "eth0");
    if (addresses.includes("inet ")) return;
    await sleep(2_000);
  }
}
