import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseHosts } from "../../infra/config/config.ts";
import { gatherFacts } from "../../infra/facts/facts.ts";
import { type HostPlan, planHosts } from "../../infra/plan/plan.ts";
import { TestResource } from "../providers/resource.ts";
import { createStack, errorsOf, type TestStack } from "../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { recordEvents } from "../testbed/events.ts";
import { setUpHost } from "../testbed/host-setup.ts";
import { importImage } from "../testbed/images.ts";

/** Projects with their settings; Incus lets only those with profiles of their own be restricted. */
const PROJECTS: Record<string, string[]> = {
  empty: ["features.profiles=true"],
  full: ["features.profiles=false", "limits.containers=0"],
  memory: ["features.profiles=false", "limits.memory=1GiB"],
  disk: ["features.profiles=false", "limits.disk=1GiB"],
  restricted: ["features.profiles=true", "restricted=true"],
  allowed: ["features.profiles=true", "restricted=true", "restricted.containers.lowlevel=allow"],
};

describe("what a host's projects and profiles do not allow", () => {
  let d: IncusDaemon;
  let stack: TestStack;
  beforeAll(async () => {
    d = await startDaemon({ name: "odd-profiles" });
    await setUpHost(d, { driver: "btrfs" });
    await importImage(d, "bb");
    for (const [name, settings] of Object.entries(PROJECTS))
      await d.incus(
        "project",
        "create",
        name,
        ...["features.images=false", ...settings].flatMap((one) => ["-c", one]),
      );
    for (const name of ["restricted", "allowed"]) {
      const add = ["--project", name, "profile", "device", "add", "default"];
      await d.incus(...add, "disk", "disk", "path=/", "pool=default");
      await d.incus(...add, "net0", "nic", "network=incusbr0");
    }
    await d.incus("profile", "create", "big");
    await d.incus("profile", "device", "add", "big", "disk", "disk", "path=/", "pool=default");
    stack = await createStack({ name: "odd-profiles", hosts: {} });
  });
  afterAll(async () => {
    await stack?.remove();
    await d?.remove();
  });

  const host = (change: object): Record<string, unknown> => ({
    connection: `unix:${d.socketPath}`,
    ...change,
  });
  const instances = (): Promise<unknown[]> => d.query("/1.0/instances?all-projects=true");
  async function planOf(agent: object): Promise<HostPlan> {
    const hosts = parseHosts({ orange: host({ agents: { iris: { image: "bb", ...agent } } }) });
    const [plan] = planHosts(hosts, await gatherFacts(hosts), { project: "p", stack: "s" }).hosts;
    if (!plan) throw new Error("no plan");
    return plan;
  }

  test.each<[string, object, string]>([
    ["two root disks", { profiles: ["default", "big"] }, "give two root disks"],
    ["a profile that is nowhere", { profiles: ["bog"] }, "its profile bog is not in project default"],
    [
      "a network that is nowhere",
      { devices: { x: { type: "nic", network: "br7" } } },
      "network br7 of its device x",
    ],
    ["a full project", { project: "full" }, "limits.containers is 0"],
    ["no memory limit in a project that has one", { project: "memory" }, "limits memory"],
    ["no size in a project that limits disk", { project: "disk" }, "limits disk"],
    ["too large a disk", { project: "disk", disk: "2GiB" }, "limits.disk is 1.0 GiB"],
    ["an id map in a restricted project", { project: "restricted", idmapUid: 1000 }, "forbids raw.* keys"],
  ])("%s: the plan says what Incus would", async (_what, agent, reason) => {
    expect((await planOf(agent)).refusals).toEqual([
      expect.objectContaining({ severity: "error", reason: expect.stringContaining(reason) }),
    ]);
    const iris = new TestResource(d, "Instance", "iris");
    await expect(
      iris.up({ name: "iris", image: "bb", pool: "default", ready: "none", ...agent }),
    ).rejects.toThrow();
    expect(await instances()).toEqual([]);
  });

  test.each<[string, object]>([
    [
      "an id map where that is allowed, disk and interface called otherwise",
      { project: "allowed", idmapUid: 1000 },
    ],
    ["limits of its own, and an id map", { project: "memory", memory: "64MiB", idmapUid: 1000 }],
    ["a size of its own", { project: "disk", disk: "512MiB" }],
    ["nothing special in a restricted project", { project: "restricted" }],
  ])("%s: the plan allows what Incus does", async (_what, agent) => {
    expect((await planOf(agent)).refusals).toEqual([]);
    const iris = new TestResource(d, "Instance", "iris");
    await iris.up({ name: "iris", image: "bb", pool: "default", protected: false, ...agent });
    expect(iris.state).toMatchObject({ isReady: true, ipv4: expect.stringMatching(/^\d+\./) });
    await iris.destroy();
    expect(await instances()).toEqual([]);
  });

  test("an agent without a network interface and a project that is nowhere: up fails at once, without a write", {
    timeout: 300_000,
  }, async () => {
    const record = await recordEvents(d);
    await stack.setHosts({
      orange: host({ agents: { iris: { image: "bb", project: "empty" } } }),
      pear: host({ project: "emty", images: ["bb"], containers: { mary: {} } }),
    });
    const up = await stack.up();
    expect(up.exitCode).not.toBe(0);
    const errors = errorsOf(up);
    expect(errors).toMatch(
      /Host "orange": container empty\/iris: neither its profiles \(default\) nor its devices give it a network interface/,
    );
    expect(errors).toMatch(/Host "pear": project emty: it is not on the host\. On the host: empty/);
    expect(errors).not.toMatch(/image bb|container emty/);
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
    expect(await instances()).toEqual([]);
  });
});
