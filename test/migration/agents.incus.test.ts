import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { runAndDie, startHost } from "../providers/migration/scene.ts";
import { TestResource } from "../providers/resource.ts";
import type { IncusDaemon } from "../testbed/daemon.ts";
import { instanceOf, placesOf } from "./scene.ts";

let d: IncusDaemon;
let iris: TestResource;
beforeAll(async () => {
  d = await startHost("mig-agents");
});
afterAll(() => d?.remove());
afterEach(async () => {
  for (const { name } of await d.query<{ name: string }[]>("/1.0/instances?recursion=1"))
    await d.incus("delete", "--force", name);
});

const OWNER = "p/s/orange/iris";
const AGENT = {
  name: "iris",
  image: "bb",
  pool: "default",
  memory: "256MiB",
  environment: { TOKEN: "s3cret" },
};
/** As the program passes them once the names are listed; later agents come from the second pool. */
const MOVED = { ...AGENT, pool: "cow", placement: { migrate: true, target: "cow", stopTimeout: 20_000 } };

/** An agent of the stack on the dir pool, with memories. */
async function makeAgent(): Promise<{ uuid: string; parked: string }> {
  iris = new TestResource(d, "Instance", "iris");
  await iris.up(AGENT);
  await d.incus("exec", "iris", "--", "sh", "-c", "echo months >/srv/memory");
  const uuid = (await d.incus("config", "get", "iris", "volatile.uuid")).trim();
  return { uuid, parked: `iris-parked-${uuid.slice(0, 8)}` };
}

async function expectMoved({ uuid, parked }: { uuid: string; parked: string }): Promise<void> {
  expect(await placesOf(d)).toEqual(["iris Running cow", `${parked} Stopped default`]);
  expect((await d.incus("config", "get", "iris", "volatile.uuid")).trim()).toBe(uuid);
  expect((await d.incus("config", "get", "iris", "user.taos.owner")).trim()).toBe(OWNER);
  expect((await d.incus("config", "get", "iris", "environment.TOKEN")).trim()).toBe("s3cret");
  expect(await d.incus("exec", "iris", "--", "cat", "/srv/memory")).toBe("months");
}

describe("an agent on the dir pool", () => {
  it("moves by its opt-in, is quiet afterwards, goes back by undo, and its parked ones go by removeParked", async () => {
    const agent = await makeAgent();
    expect(await iris.up({ ...AGENT, pool: "cow" })).toBe("same");
    expect(await iris.up(MOVED)).toBe("update");
    await expectMoved(agent);
    expect(await iris.refresh()).toBe(false);
    expect(await iris.up(MOVED)).toBe("same");
    // The name is taken out of the opt-in.
    expect(await iris.up({ ...AGENT, pool: "cow" })).toBe("same");

    await d.incus("exec", "iris", "--", "sh", "-c", "echo later >/srv/later");
    const undo = { ...AGENT, pool: "cow", placement: { undo: true } };
    expect(await iris.refresh()).toBe(false);
    expect(await iris.up(undo)).toBe("update");
    const aside = agent.parked.replace("parked", "undone");
    expect(await placesOf(d)).toEqual(["iris Running default", `${aside} Stopped cow`]);
    expect(await iris.refresh()).toBe(false);
    expect(await iris.up(undo)).toBe("same");

    expect(await iris.up({ ...AGENT, removeParked: true })).toBe("update");
    expect(await placesOf(d)).toEqual(["iris Running default"]);
    expect(await iris.refresh()).toBe(false);
  });

  it.each(["after seeded", "after stopped", "after parking", "after parked", "after started"])(
    "killed %s: a run that knows of it, and one that knows nothing, end it without making another agent",
    async (point) => {
      for (const forgets of [false, true]) {
        const agent = await makeAgent();
        const request = {
          ...{ project: "default", name: "iris", target: "cow", owner: OWNER },
          ...{ forceStop: false, stopTimeout: 20_000 },
        };
        await runAndDie(d, request, point);
        expect(await iris.refresh()).toBe(true);
        if (forgets) iris.forget();
        await iris.up(MOVED);
        await expectMoved(agent);
        expect(await iris.refresh()).toBe(false);
        for (const { name } of await d.query<{ name: string }[]>("/1.0/instances?recursion=1"))
          await d.incus("delete", "--force", name);
      }
    },
  );

  it("whose opt-in is gone after a kill is as it was before", async () => {
    await makeAgent();
    await runAndDie(
      d,
      {
        project: "default",
        name: "iris",
        target: "cow",
        owner: OWNER,
        forceStop: false,
        stopTimeout: 20_000,
      },
      "after stopped",
    );
    expect(await iris.refresh()).toBe(true);
    expect(await iris.up(AGENT)).toBe("update");
    expect(await placesOf(d)).toEqual(["iris Running default"]);
  });

  it("that ignores the stop runs on, and the message says so", async () => {
    await makeAgent();
    await d.incus("exec", "iris", "--", "touch", "/etc/ignore-stop");
    const hasty = { ...MOVED, placement: { ...MOVED.placement, stopTimeout: 2_000 } };
    await expect(iris.up(hasty)).rejects.toThrow(
      /"iris" runs, on pool "default"\.\n.*did not stop within 2 s/,
    );
    expect(await placesOf(d)).toEqual(["iris Running default"]);
    const forced = { ...hasty, placement: { ...hasty.placement, forceStop: true } };
    expect(await iris.up(forced)).toBe("update");
    expect((await placesOf(d))[0]).toBe("iris Running cow");
  });

  it("that its health command does not find well afterwards goes back, and runs", {
    timeout: 120_000,
  }, async () => {
    await makeAgent();
    const ill = { ...MOVED, placement: { ...MOVED.placement, health: ["test", "-e", "/srv/never"] } };
    await expect(iris.up(ill)).rejects.toThrow(
      /"iris" runs, on pool "default"[\s\S]*is not healthy: its health command exited with 1/,
    );
    expect(await placesOf(d)).toEqual(["iris Running default"]);
    expect(await d.incus("exec", "iris", "--", "cat", "/srv/memory")).toBe("months");
    const well = { ...MOVED, placement: { ...MOVED.placement, health: ["test", "-e", "/srv/memory"] } };
    expect(await iris.up(well)).toBe("update");
    expect((await placesOf(d))[0]).toBe("iris Running cow");
  });

  it("that takes its root disk from a profile gets its own by pinRoot, where it is", async () => {
    await makeAgent();
    await d.incus("config", "device", "remove", "iris", "root");
    await iris.refresh();
    const pid = (await instanceOf(d, "iris")).state.pid;
    const pinned = { ...AGENT, placement: { pinRoot: true } };
    expect(await iris.up(pinned)).toBe("update");
    const { devices, state } = await instanceOf(d, "iris");
    expect(devices["root"]).toMatchObject({ type: "disk", path: "/", pool: "default" });
    expect(state.pid).toBe(pid);
    expect(await iris.refresh()).toBe(false);
    expect(await iris.up(pinned)).toBe("same");
    expect(await iris.up(AGENT)).toBe("same");
  });
});
