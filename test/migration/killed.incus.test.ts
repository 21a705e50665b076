import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { copyCheckout } from "../pulumi/checkout.ts";
import { pulumiPath } from "../pulumi/cli.ts";
import type { PulumiRun } from "../pulumi/run.ts";
import {
  type CommandOptions,
  changesOf,
  createStack,
  errorsOf,
  type RunResult,
  TestStack,
} from "../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { until } from "../testbed/deadline.ts";
import { PHASES } from "./said.ts";
import {
  instanceOf,
  keptOf,
  lostIn,
  makeContainer,
  parkedOf,
  placesOf,
  reaches,
  setUpDirHost,
  twin,
} from "./scene.ts";

type Before = { mary: unknown; address: string; pids: (number | undefined)[] };

let d: IncusDaemon;
let stack: TestStack;
let run: PulumiRun | undefined;
let elsewhere: string | undefined;
let before: Before;

beforeAll(async () => {
  d = await startDaemon({ name: "mig-killed" });
});
afterAll(() => d?.remove());
beforeEach(async () => {
  await d.reset();
  await setUpDirHost(d);
  for (const name of ["naira", "stanley"]) await d.incus("launch", "bb", name);
  await makeContainer(d, "mary", { snapshots: ["monday", "tuesday"] });
  const address = await d.ipv4("mary");
  before = { mary: keptOf(await instanceOf(d, "mary")), address, pids: await pidsOfOthers() };
  stack = await createStack({ name: "killed", hosts: await twin(d, { optIn: { migrate: ["mary"] } }) });
});
afterEach(async () => {
  await run?.cleanUp();
  run = undefined;
  await stack?.remove();
  if (elsewhere !== undefined) await rm(elsewhere, { recursive: true, force: true });
});

async function pidsOfOthers(): Promise<(number | undefined)[]> {
  const others = await Promise.all(["naira", "stanley"].map((name) => instanceOf(d, name)));
  return others.map(({ state }) => state.pid);
}

async function upUntil(phase: RegExp): Promise<PulumiRun> {
  const started = stack.startUp();
  run = started;
  await reaches(stack, started, phase);
  return started;
}

/** The name, or the parked source, is there with everything at every instant. */
async function expectNothingGone(): Promise<void> {
  // While one is going down Incus lists it without its devices.
  const holders = async (): Promise<boolean> =>
    (await placesOf(d)).filter((place) => /^mary(-parked-\w+)? \w+ default$/.test(place)).length === 1;
  await until(holders, { what: "mary or her parked source on the old pool", deadlineMs: 10_000 });
}

/** mary as she was, from the other pool; beside her only her parked source. */
async function expectMoved(up: RunResult): Promise<void> {
  expect(errorsOf(up)).toBe("");
  expect(up.exitCode).toBe(0);
  const mary = await instanceOf(d, "mary");
  const parked = parkedOf(mary);
  expect(await placesOf(d)).toEqual([
    "mary Running default-cow",
    `${parked} Stopped default`,
    "naira Running default",
    "stanley Running default",
  ]);
  expect(await lostIn(d, await instanceOf(d, parked), mary)).toEqual([]);
  expect(keptOf(mary)).toEqual(before.mary);
  expect(Object.keys(mary.config).filter((key) => /^user\.taos\.(migration|lease)$/.test(key))).toEqual([]);
  expect(await d.ipv4("mary")).toBe(before.address);
  expect(await pidsOfOthers()).toEqual(before.pids);
}

describe("kill -9 during a migration, at one phase after the other", () => {
  it("of the CLI: its provider ends by itself, and the last up finishes", { timeout: 180_000 }, async () => {
    for (const phase of PHASES) {
      const killed = await upUntil(phase);
      const providers = await killed.providers();
      killed.killCli();
      // A second one, that Pulumi starts for state of the run before, has nothing to do and is left to script/stack.
      await until(async () => (await killed.providers()).length < providers.length, {
        what: "the provider to notice that its engine is gone",
        deadlineMs: 20_000,
      });
      await killed.cleanUp();
      await expectNothingGone();
      // As script/stack does it.
      await stack.cancel();
    }
    await expectMoved(await stack.up());
    expect(changesOf(await stack.up())).toEqual([]);
  });

  it("of the provider: up fails, and the next one says what it resumes", { timeout: 180_000 }, async () => {
    for (const [index, phase] of PHASES.entries()) {
      const struck = await upUntil(phase);
      await struck.killProvider();
      const { exitCode, output } = await struck.result;
      expect(exitCode).not.toBe(0);
      if (index > 0) expect(output).toMatch(/board: mary: resuming an interrupted migration: /);
      await expectNothingGone();
    }
    const last = await stack.up();
    expect(last.output).toMatch(/resuming an interrupted migration: the copy (runs|has) /);
    await expectMoved(last);
    expect(changesOf(await stack.up())).toEqual([]);
  });
});

describe("kill -9 during the migration of an agent of the stack", () => {
  it("of the CLI, at one phase after the other: the last up finishes", { timeout: 180_000 }, async () => {
    const hosts = (optIn: Record<string, string[]>) =>
      twin(d, { agents: { iris: { image: "bb", environment: { TOKEN: "s3cret" } } }, optIn });
    await stack.setHosts(await hosts({ migrate: [] }));
    const made = await stack.up();
    expect(errorsOf(made)).toBe("");
    await d.incus("exec", "iris", "--", "sh", "-c", "echo months >/srv/memory");
    const { config } = await instanceOf(d, "iris");
    await stack.setHosts(await hosts({ migrate: ["iris"] }));
    for (const phase of PHASES) {
      const killed = await upUntil(phase);
      killed.killCli();
      await killed.cleanUp();
      await stack.cancel();
    }
    const last = await stack.up();
    expect(errorsOf(last)).toBe("");
    const iris = await instanceOf(d, "iris");
    expect((await placesOf(d)).filter((place) => place.startsWith("iris"))).toEqual([
      "iris Running default-cow",
      `${parkedOf(iris)} Stopped default`,
    ]);
    expect(await d.incus("exec", "iris", "--", "cat", "/srv/memory")).toBe("months");
    for (const key of ["volatile.uuid", "volatile.eth0.hwaddr", "environment.TOKEN", "user.taos.owner"])
      expect(iris.config[key]).toBe(config[key]);
    expect(await pidsOfOthers()).toEqual(before.pids);
    expect(changesOf(await stack.up())).toEqual([]);
  });
});

/** Another checkout with a copy of the state backend, and a command that runs there as on another machine. */
async function onAnotherMachine(): Promise<{ other: TestStack; through: CommandOptions["through"] }> {
  elsewhere = await mkdtemp(join(tmpdir(), "taos-hosts-elsewhere-"));
  const checkout = join(elsewhere, "checkout");
  await copyCheckout(checkout);
  const dir = join(elsewhere, "state");
  await cp(join(stack.dir, "backend"), join(dir, "backend"), { recursive: true });
  const hosts = await twin(d, { optIn: { migrate: ["mary"] } });
  const other = new TestStack({ name: stack.name, hosts }, dir, await pulumiPath());
  await other.setHosts(hosts);
  // Its own host name and process ids: nothing there tells whether a process of this machine lives.
  const through = [
    ...["unshare", "--uts", "--pid", "--fork", "--kill-child", "--"],
    ...["sh", "-c", `hostname elsewhere && cd ${checkout} && exec "$@"`, "sh"],
  ];
  return { other, through };
}

describe("a migration whose machine is lost", () => {
  it("is finished from another one with only the state backend and the host in common", {
    timeout: 180_000,
  }, async () => {
    const lost = await upUntil(/stopping the container/);
    await lost.cleanUp();
    await expectNothingGone();
    const { other, through = [] } = await onAnotherMachine();
    await other.cancel();
    const up = await other.up({ through });
    expect(up.output).toMatch(/the run of another machine shows no sign of life; taking over/);
    expect(up.output).toMatch(/resuming an interrupted migration: /);
    await expectMoved(up);
    expect(changesOf(await other.up({ through }))).toEqual([]);
  });
});
