import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { changesOf, createStack, errorsOf, type TestStack } from "../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { recordEvents } from "../testbed/events.ts";
import {
  addUserProject,
  instanceOf,
  lostIn,
  makeContainer,
  parkedOf,
  placesOf,
  setUpDirHost,
  twin,
  USER_PROJECT,
} from "./scene.ts";

let d: IncusDaemon;
let stack: TestStack;

beforeAll(async () => {
  d = await startDaemon({ name: "mig-profiles" });
});
afterAll(() => d?.remove());
beforeEach(async () => {
  await d.reset();
  await setUpDirHost(d);
});
afterEach(() => stack?.remove());

const CONTAINERS = { mary: {}, naira: {}, stanley: { project: USER_PROJECT } };

async function launchPool(project = "default"): Promise<string> {
  await d.incus("--project", project, "launch", "bb", "new");
  const { expanded_devices: devices } = await instanceOf(d, "new");
  await d.incus("--project", project, "delete", "--force", "new");
  return devices?.["root"]?.["pool"] ?? "";
}

describe("where a new container goes", () => {
  it("stays the old pool while one inherits it, and follows once that one is pinned or moved", {
    timeout: 240_000,
  }, async () => {
    await addUserProject(d);
    await makeContainer(d, "mary");
    await d.incus("launch", "bb", "naira");
    await d.incus("--project", USER_PROJECT, "launch", "bb", "stanley");
    const pids = (await Promise.all(["naira", "stanley"].map((name) => instanceOf(d, name)))).map(
      ({ state }) => state.pid,
    );
    stack = await createStack({
      name: "profiles",
      hosts: await twin(d, { containers: CONTAINERS, optIn: { migrate: ["mary"] } }),
    });
    const first = await stack.up();
    expect(errorsOf(first)).toBe("");
    expect(first.output.replaceAll(/\s+/g, " ")).toMatch(
      /profile default stays on pool default, so new launches go there: naira take their root disk from it\. optIn\.pinRoot or optIn\.migrate frees it/,
    );
    expect(await launchPool()).toBe("default");

    // A pin frees the profile: no stop, no data.
    await stack.setHosts(
      await twin(d, { containers: CONTAINERS, optIn: { migrate: ["mary"], pinRoot: ["naira"] } }),
    );
    const record = await recordEvents(d);
    const pinned = await stack.up();
    await record.stop();
    expect(errorsOf(pinned)).toBe("");
    // A changed profile is an update of all that use it, no more.
    expect(record.lifecycle().filter((line) => /^instance-(?!updated)/.test(line))).toEqual([]);
    expect((await instanceOf(d, "naira")).devices["root"]).toEqual({
      type: "disk",
      path: "/",
      pool: "default",
    });
    expect(
      (await Promise.all(["naira", "stanley"].map((name) => instanceOf(d, name)))).map(
        ({ state }) => state.pid,
      ),
    ).toEqual(pids);
    expect(await launchPool()).toBe("default-cow");
    expect(await launchPool(USER_PROJECT)).toBe("default");
    expect(await stack.outputs()).toMatchObject({
      hosts: { board: { launchPool: "default-cow", pool: "default-cow" } },
    });

    // The last one of the other project moves: its profiles follow, too.
    await stack.setHosts(
      await twin(d, { containers: CONTAINERS, optIn: { migrate: ["mary", "stanley"], pinRoot: ["naira"] } }),
    );
    const moved = await stack.up();
    expect(errorsOf(moved)).toBe("");
    const stanley = await instanceOf(d, "stanley");
    expect(stanley.project).toBe(USER_PROJECT);
    expect(await lostIn(d, await instanceOf(d, parkedOf(stanley)), stanley)).toEqual([]);
    expect(await launchPool(USER_PROJECT)).toBe("default-cow");
    expect(changesOf(await stack.up())).toEqual([]);
  });

  it("is the new pool when every container has moved; the old one stays, empty and named", {
    timeout: 150_000,
  }, async () => {
    await makeContainer(d, "mary");
    stack = await createStack({
      name: "all-moved",
      hosts: await twin(d, { containers: { mary: {} }, optIn: { migrate: ["mary"] } }),
    });
    expect(errorsOf(await stack.up())).toBe("");
    expect(await launchPool()).toBe("default-cow");
    await stack.setHosts(
      await twin(d, { containers: { mary: {} }, optIn: { migrate: ["mary"], removeParked: ["mary"] } }),
    );
    expect(errorsOf(await stack.up())).toBe("");
    expect(await placesOf(d)).toEqual(["mary Running default-cow"]);
    const preview = await stack.preview();
    expect(preview.output.replaceAll(/\s+/g, " ")).toContain(
      "pool default stays dir: pool default-cow has taken over. It is empty",
    );
    const { driver, used_by: usedBy } = await d.query<{ driver: string; used_by: string[] }>(
      "/1.0/storage-pools/default",
    );
    expect({ driver, usedBy }).toEqual({ driver: "dir", usedBy: [] });
    expect(changesOf(await stack.up())).toEqual([]);
  });
});
