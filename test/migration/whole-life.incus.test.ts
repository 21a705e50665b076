import { afterAll, beforeAll, expect, it } from "vitest";
import { parseHosts } from "../../infra/config/config.ts";
import { gatherFacts } from "../../infra/facts/facts.ts";
import { hasActions, type Plan, planErrors, planHosts } from "../../infra/plan/plan.ts";
import { changesOf, createStack, errorsOf, type HostsConfig, type TestStack } from "../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { instanceOf, makeContainer, parkedOf, placesOf, setUpDirHost, twin } from "./scene.ts";

let d: IncusDaemon;
let stack: TestStack;
beforeAll(async () => {
  d = await startDaemon({ name: "whole-life" });
  await setUpDirHost(d);
  for (const name of ["mary", "naira"]) await makeContainer(d, name);
  for (const name of ["mary", "naira"]) await d.ipv4(name);
  stack = await createStack({ name: "life", hosts: await hosts({}) });
});
afterAll(async () => {
  await stack?.remove();
  await d?.remove();
});

type Json = Record<string, unknown>;

function hosts(change: Json & { optIn?: Record<string, string[]> }): Promise<HostsConfig> {
  return twin(d, { containers: { mary: {}, naira: {} }, ...change });
}

async function planOf(config: HostsConfig): Promise<Plan> {
  const parsed = parseHosts(config);
  return planHosts(parsed, await gatherFacts(parsed), { project: "taos-hosts", stack: "life" });
}

async function errorsOfPlan(config: HostsConfig): Promise<string> {
  return planErrors(await planOf(config)).join("\n");
}

/** One step of the host's life: `up` without an error, and then nothing more to do for plan and preview. */
async function step(change: Json & { optIn?: Record<string, string[]> }): Promise<string[]> {
  const config = await hosts(change);
  await stack.setHosts(config);
  const up = await stack.up();
  expect(errorsOf(up)).toBe("");
  const plan = await planOf(config);
  expect(planErrors(plan)).toEqual([]);
  expect(hasActions(plan)).toBe(false);
  const preview = await stack.preview();
  expect(preview.exitCode).toBe(0);
  expect(changesOf(preview)).toEqual([]);
  return placesOf(d);
}

const agent = { image: "bb", ready: "none" };

it("a host's whole life, quiet after every step", { timeout: 600_000 }, async () => {
  // An agent of the stack is made where the host has its containers.
  const rose = { rose: agent };
  expect(await step({ agents: rose })).toEqual([
    "mary Running default",
    "naira Running default",
    "rose Running default",
  ]);

  const first = await step({ agents: rose, optIn: { migrate: ["mary", "rose"] } });
  const [mary, parkedRose] = [parkedOf(await instanceOf(d, "mary")), parkedOf(await instanceOf(d, "rose"))];
  expect(first).toEqual([
    "mary Running default-cow",
    `${mary} Stopped default`,
    "naira Running default",
    "rose Running default-cow",
    `${parkedRose} Stopped default`,
  ]);

  // The names are taken out: what they brought about stays, and new agents go there.
  const agents = { rose: agent, iris: agent };
  expect(await step({ agents })).toEqual(["iris Running default-cow", ...first]);
  expect((await stack.outputs<{ hosts: Json }>()).hosts).toMatchObject({
    board: { pool: "default-cow", driver: "btrfs", containers: { mary: "default-cow" } },
  });

  await step({ agents, optIn: { migrate: ["naira"] } });
  const naira = parkedOf(await instanceOf(d, "naira"));
  const moved = ["iris", "mary", "naira", "rose"].map((name) => `${name} Running default-cow`);
  const parked = [mary, naira, parkedRose].map((name) => `${name} Stopped default`);
  expect(await placesOf(d)).toEqual([...moved, ...parked].sort());

  expect(await step({ agents, optIn: { removeParked: ["mary", "naira", "rose"] } })).toEqual(moved);

  await d.incus("storage", "delete", "default");
  // A config with the old name makes no pool anew: it says what to write.
  const named = await hosts({ pool: { name: "default", size: "6GiB" }, agents });
  expect(await errorsOfPlan(named)).toContain("Set pool.name: default-cow");

  expect(await step({ pool: { name: "default-cow", size: "6GiB" }, agents })).toEqual(moved);
});

it("a config that would silently go back to the dir pool is refused with the line to add", async () => {
  await d.reset();
  await setUpDirHost(d);
  await d.incus("storage", "create", "default-cow", "btrfs", "size=1GiB");
  await d.incus("launch", "bb", "mary", "--storage=default-cow");
  await d.incus("launch", "bb", "naira");
  const errorsWith = async (pool: Json): Promise<string> => errorsOfPlan(await hosts({ pool }));
  expect(await errorsWith({})).toMatch(
    /mary are on it.*new agents would go to pool default \(dir\) again.*"cow: true"/,
  );
  expect(await errorsWith({ cow: true })).toBe("");
  expect(await errorsWith({ cow: false })).toBe("");
});
