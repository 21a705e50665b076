import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseHosts } from "../../infra/config/config.ts";
import { gatherFacts } from "../../infra/facts/facts.ts";
import { planHosts } from "../../infra/plan/plan.ts";
import { report } from "../../infra/report/report.ts";
import { createInstance } from "../../providers/incus/instances.ts";
import { clientFor } from "../../providers/index.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { type FaultyProxy, startProxy } from "../testbed/faulty-proxy.ts";
import { setUpHost } from "../testbed/host-setup.ts";

const FEW = 5;
const MANY = 200;

describe("a host with 200 containers", () => {
  let d: IncusDaemon;
  let proxy: FaultyProxy;

  beforeAll(async () => {
    d = await startDaemon({ name: "many" });
    await setUpHost(d, { driver: "dir" });
    proxy = await startProxy(d);
  });
  afterAll(async () => {
    await proxy?.close();
    await d?.remove();
  });

  async function look(): Promise<{ requests: number; text: string }> {
    const before = proxy.requests.length;
    const containers = Object.fromEntries(["agent-0", "agent-1"].map((name) => [name, {}]));
    const hosts = parseHosts({
      board: { connection: `unix:${proxy.socketPath}`, containers, optIn: { migrate: ["agent-1"] } },
    });
    const facts = await gatherFacts(hosts);
    const requests = proxy.requests.length - before;
    return {
      requests,
      text: report(planHosts(hosts, facts, { project: "taos-hosts", stack: "test" }), "text"),
    };
  }

  /** Empty containers: only a row in the database and a directory. */
  async function fill(from: number, to: number): Promise<void> {
    const client = clientFor({ name: "board", connection: `unix:${d.socketPath}` });
    const names = Array.from({ length: to - from }, (_, index) => `agent-${from + index}`);
    while (names.length > 0) {
      const batch = names.splice(0, 10);
      await Promise.all(
        batch.map((name) =>
          createInstance(
            client,
            "default",
            {
              name,
              type: "container",
              source: { type: "none" },
              config: {},
              devices: {},
              profiles: ["default"],
              description: "",
              start: false,
            },
            { deadline: 60_000 },
          ),
        ),
      );
    }
  }

  test("takes as many requests as one with five, and its report is readable", {
    timeout: 240_000,
  }, async () => {
    await fill(0, FEW);
    const few = await look();
    await fill(FEW, MANY);
    expect(await d.query<unknown[]>("/1.0/instances")).toHaveLength(MANY);
    const many = await look();
    expect(many.requests).toBe(few.requests);
    expect(many.requests).toBeLessThan(15);

    const lines = many.text.split("\n");
    expect(lines.length).toBeLessThan(20);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(120);
    expect(many.text).toMatch(/198 more on pool default \(dir\): .*nothing happens to them/);
    expect(many.text).toMatch(/agent-0 .*nothing/);
    expect(many.text).toMatch(/agent-1: migrate: moves from pool default to default-cow/);
    expect(many.text).toMatch(/used by agent-0, .* and 19\d more/s);
  });
});
