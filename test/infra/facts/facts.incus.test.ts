import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseHosts } from "../../../infra/config/config.ts";
import { gatherFacts, type HostFacts } from "../../../infra/facts/facts.ts";
import { planHosts } from "../../../infra/plan/plan.ts";
import { report } from "../../../infra/report/report.ts";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { type FaultyProxy, startProxy } from "../../testbed/faulty-proxy.ts";
import { CONTEXT } from "../plan/world.ts";

const COUNT = 200;
/** Creates in parallel; more would only queue in the daemon. */
const WORKERS = 8;

let daemon: IncusDaemon;
let proxy: FaultyProxy;

beforeAll(async () => {
  daemon = await startDaemon({ name: "facts", https: false });
  await daemon.incus("storage", "create", "default", "dir");
  await daemon.incus("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default");
  proxy = await startProxy(daemon);
});

afterAll(async () => {
  await proxy.close();
  await daemon.remove();
});

/** Facts of a host that answers and of one that does not. */
async function facts(): Promise<{
  seen: HostFacts | undefined;
  silent: HostFacts | undefined;
  text: string;
  requests: number;
}> {
  const hosts = parseHosts({
    "orange-1": { connection: `unix:${proxy.socketPath}`, containers: { "taos-agent-7": {} } },
    "pi-2": { connection: "unix:/nowhere/unix.socket" },
  });
  const before = proxy.requests.length;
  const gathered = await gatherFacts(hosts);
  const requests = proxy.requests.length - before;
  const text = report(planHosts(hosts, gathered, CONTEXT), "text");
  return { seen: gathered["orange-1"], silent: gathered["pi-2"], text, requests };
}

describe(`the facts of a host with ${COUNT} containers`, () => {
  let few: number;

  beforeAll(async () => {
    const names = Array.from({ length: COUNT }, (_, index) => `taos-agent-${index}`);
    await daemon.incus("create", "--empty", names.shift() ?? "");
    few = (await facts()).requests;
    const work = async (): Promise<void> => {
      for (let name = names.shift(); name !== undefined; name = names.shift())
        await daemon.incus("create", "--empty", name);
    };
    await Promise.all(Array.from({ length: WORKERS }, work));
  });

  it("take as many requests as those of a host with one, all of them reads", async () => {
    const { seen, silent, text, requests } = await facts();
    expect(seen && "look" in seen && seen.look.instances.length).toBe(COUNT);
    expect(requests).toBe(few);
    expect(requests).toBeLessThan(20);
    expect(proxy.writes()).toEqual([]);
    expect(silent).toEqual({ unreachable: expect.stringContaining("/nowhere/unix.socket") });
    expect(text).toContain("199 more on pool default (dir)");
    expect(text.split("\n").length).toBeLessThan(20);
  });
});
