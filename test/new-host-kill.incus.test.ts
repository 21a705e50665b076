import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { PulumiRun } from "./pulumi/run.ts";
import { changesOf, createStack, errorsOf, type TestStack } from "./pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "./testbed/daemon.ts";
import { until } from "./testbed/deadline.ts";
import { type EventRecord, recordEvents } from "./testbed/events.ts";
import { importImage } from "./testbed/images.ts";

const AGENTS = ["taos-agent-a", "taos-agent-b", "taos-agent-c", "taos-agent-d"];

function agent(name: string): Record<string, unknown> {
  const files = [{ path: "/root/.openclaw/openclaw.json", content: `{"agent":"${name}"}`, mode: "0600" }];
  return { image: "taos-base", environment: { NETWORK_DELAY: "0.3" }, files };
}

/** How many lifecycle events match. */
function count(record: EventRecord, pattern: RegExp): number {
  return record.lifecycle().filter((line) => pattern.test(line)).length;
}

/** Moments of `up` at which it is killed: the n-th event of a kind has just arrived. */
const MOMENTS: { when: string; pattern: RegExp; nth: number }[] = [
  { when: "the pool exists and the bridge is being made", pattern: /^storage-pool-created /, nth: 1 },
  { when: "the image is being unpacked", pattern: /^instance-created .*\/taos-warm-/, nth: 1 },
  { when: "the first agent is being created", pattern: /^instance-created .*\/taos-agent-/, nth: 1 },
  { when: "an agent has its files", pattern: /^instance-file-pushed .*\/taos-agent-/, nth: 3 },
  { when: "the third agent has started", pattern: /^instance-started .*\/taos-agent-/, nth: 3 },
];

describe("a run that is killed in the middle", () => {
  let d: IncusDaemon;
  let stack: TestStack;
  let run: PulumiRun | undefined;

  beforeAll(async () => {
    d = await startDaemon({ name: "new-host-kill" });
  });
  afterAll(() => d?.remove());
  beforeEach(async () => {
    await d.reset();
    await importImage(d, "taos-base");
    stack = await createStack({
      name: "killed",
      hosts: {
        orange: {
          connection: `unix:${d.socketPath}`,
          pool: { size: "6GiB" },
          agents: Object.fromEntries(AGENTS.map((name) => [name, agent(name)])),
        },
      },
    });
  });
  afterEach(async () => {
    await run?.cleanUp();
    run = undefined;
    await stack?.remove();
  });

  /** The wanted state, on the host and in Pulumi's: everything once, nothing besides. */
  async function expectWantedState(): Promise<void> {
    const instances = await d.query<{ name: string; status: string; config: Record<string, string> }[]>(
      "/1.0/instances?recursion=1&all-projects=true",
    );
    expect(instances.map(({ name, status }) => `${name} ${status}`).sort()).toEqual(
      AGENTS.map((name) => `${name} Running`),
    );
    for (const { name, config } of instances) {
      expect(config["user.taos.owner"]).toBe(`taos-hosts/killed/orange/${name}`);
      expect(config).not.toHaveProperty("user.taos.stage");
      expect(await d.ipv4(name)).toMatch(/^10\./);
      expect(await d.incus("exec", name, "--", "cat", "/root/.openclaw/openclaw.json")).toBe(
        `{"agent":"${name}"}`,
      );
    }
    const pools = await d.query<{ name: string }[]>("/1.0/storage-pools?recursion=1");
    expect(pools.map(({ name }) => name)).toEqual(["default"]);
    expect(await d.query("/1.0/operations")).not.toHaveProperty("running");
    expect(await stack.resources()).toEqual([
      ...AGENTS.map((name) => `Instance orange/${name}`),
      "Network orange/incusbr0",
      "ProfileDevices orange/default-profile",
      "StoragePool orange/default",
      "WarmImage orange/taos-base",
    ]);
  }

  async function startAndWait({ pattern, nth, when }: (typeof MOMENTS)[number]): Promise<PulumiRun> {
    const record = await recordEvents(d);
    run = stack.startUp();
    await until(() => count(record, pattern) >= nth, { what: when, everyMs: 5, deadlineMs: 60_000 });
    return run;
  }

  for (const moment of MOMENTS) {
    test(`kill -9 of the CLI when ${moment.when}: the provider ends by itself, the next up finishes`, {
      timeout: 120_000,
    }, async () => {
      const killed = await startAndWait(moment);
      killed.killCli();
      await until(async () => (await killed.providers()).length === 0, {
        what: "the provider to notice that its engine is gone",
        deadlineMs: 20_000,
      });
      await killed.cleanUp();
      // The killed CLI left its lock, which script/stack releases in the same way.
      await stack.cancel();
      const up = await stack.up();
      expect(errorsOf(up)).toBe("");
      expect(up.exitCode).toBe(0);
      await expectWantedState();
    });
  }

  test("kill -9 of the provider while agents are created: up fails, the next one finishes and then nothing is to do", {
    timeout: 120_000,
  }, async () => {
    const struck = await startAndWait({
      when: "the second agent is being created",
      pattern: /^instance-created .*\/taos-agent-/,
      nth: 2,
    });
    await struck.killProvider();
    const { exitCode } = await struck.result;
    expect(exitCode).not.toBe(0);
    const up = await stack.up();
    expect(errorsOf(up)).toBe("");
    expect(up.exitCode).toBe(0);
    await expectWantedState();
    expect(changesOf(await stack.up())).toEqual([]);
  });
});
