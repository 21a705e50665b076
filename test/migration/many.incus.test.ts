import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { changesOf, createStack, errorsOf, type TestStack } from "../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import {
  addUserProject,
  instanceOf,
  instancesOf,
  keptOf,
  lostIn,
  makeContainer,
  parkedOf,
  placesOf,
  setUpDirHost,
  twin,
  USER_PROJECT,
} from "./scene.ts";

const RUNNING = ["mary", "naira", "olga", "pia"];
const WITH_SNAPSHOTS = ["quinn", "rosa"];
const STOPPED = ["sara", "tara"];
const ELSEWHERE = ["stanley", "uma"];
const ALL = [...RUNNING, ...WITH_SNAPSHOTS, ...STOPPED, ...ELSEWHERE];

let d: IncusDaemon;
let stack: TestStack;
beforeAll(async () => {
  d = await startDaemon({ name: "mig-many" });
});
afterAll(() => d?.remove());
afterEach(() => stack?.remove());

async function setUp(): Promise<void> {
  await d.reset();
  await setUpDirHost(d);
  await addUserProject(d);
  for (const name of RUNNING) await d.incus("launch", "bb", name);
  for (const name of WITH_SNAPSHOTS) await makeContainer(d, name, { snapshots: ["monday", "tuesday"] });
  for (const name of STOPPED) await d.incus("create", "bb", name);
  // One that has run, one that never did.
  await d.incus("start", "sara");
  await d.incus("stop", "--force", "sara");
  for (const name of ELSEWHERE) await d.incus("--project", USER_PROJECT, "launch", "bb", name);
  for (const name of [...RUNNING, ...WITH_SNAPSHOTS]) await d.ipv4(name);
}

async function addresses(): Promise<string[]> {
  return (await d.incus("list", "--all-projects", "--format=csv", "--columns=n4"))
    .split("\n")
    .filter((line) => !line.endsWith(","))
    .sort();
}

describe.each([1, 3])("ten containers in one up, %i at a time", (migrateParallel) => {
  it("all move with everything they have", { timeout: 240_000 }, async () => {
    await setUp();
    const before = new Map((await instancesOf(d)).map((one) => [one.name, keptOf(one)]));
    const addressesBefore = await addresses();
    const containers = Object.fromEntries(
      ALL.map((name) => [name, ELSEWHERE.includes(name) ? { project: USER_PROJECT } : {}]),
    );
    stack = await createStack({
      name: "many",
      hosts: await twin(d, { containers, migrateParallel, optIn: { migrate: ALL } }),
    });
    const up = await stack.up({ timeoutMs: 200_000 });
    expect(errorsOf(up)).toBe("");
    expect(up.exitCode).toBe(0);
    const now = new Map((await instancesOf(d)).map((one) => [one.name, one]));
    expect(now.size).toBe(2 * ALL.length);
    for (const name of ALL) {
      const moved = await instanceOf(d, name);
      expect(moved.devices["root"]?.["pool"]).toBe("default-cow");
      expect(keptOf(moved)).toEqual(before.get(name));
      const parked = now.get(parkedOf(moved));
      expect(parked?.status).toBe("Stopped");
      if (parked) expect({ name, lost: await lostIn(d, parked, moved) }).toEqual({ name, lost: [] });
    }
    expect(await addresses()).toEqual(addressesBefore);
    expect((await placesOf(d)).filter((place) => place.endsWith("default-cow"))).toHaveLength(ALL.length);
    for (const project of ["default", USER_PROJECT]) {
      const root = await d.incus("--project", project, "profile", "device", "get", "default", "root", "pool");
      expect(root).toBe("default-cow");
    }
    expect(changesOf(await stack.up())).toEqual([]);
  });
});
