import { request } from "node:http";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { until } from "../../testbed/deadline.ts";
import { TestResource } from "../resource.ts";

const WANTED = { name: "incusbr0", config: { "ipv6.address": "none", "ipv4.nat": "true" } };

describe("Network", () => {
  let d: IncusDaemon;
  let bridge: TestResource;
  beforeAll(async () => {
    d = await startDaemon({ name: "network" });
  });
  afterAll(() => d?.remove());
  beforeEach(async () => {
    await d.reset();
    bridge = new TestResource(d, "Network", "incusbr0");
  });
  const value = (key: string): Promise<string> => d.incus("network", "get", "incusbr0", key);
  const names = async (): Promise<string[]> =>
    (await d.query<{ name: string; managed: boolean }[]>("/1.0/networks?recursion=1"))
      .filter(({ managed }) => managed)
      .map(({ name }) => name);

  test("is made, found unchanged, mended where it drifted, and deleted", async () => {
    expect(await bridge.up(WANTED)).toBe("create");
    expect(await bridge.refresh()).toBe(false);
    expect(await bridge.up(WANTED)).toBe("same");

    await d.incus("network", "set", "incusbr0", "ipv4.nat=false");
    await d.incus("network", "set", "incusbr0", "user.theirs=kept");
    expect(await bridge.refresh()).toBe(true);
    expect(await bridge.up(WANTED)).toBe("update");
    expect(await value("ipv4.nat")).toBe("true");
    expect(await value("user.theirs")).toBe("kept");

    await bridge.destroy();
    expect(await names()).toEqual([]);
  });

  test("that was there is adopted: never changed, never deleted", async () => {
    await d.incus("network", "create", "incusbr0", "ipv6.address=none", "ipv4.nat=false");
    expect(await bridge.up(WANTED)).toBe("create");
    expect(await bridge.refresh()).toBe(false);
    expect(await bridge.up({ ...WANTED, config: {} })).toBe("update");
    expect(await value("ipv4.nat")).toBe("false");
    await bridge.destroy();
    expect(await names()).toEqual(["incusbr0"]);
  });

  test("of ours is recognised after a run that was killed", async () => {
    await bridge.up(WANTED);
    bridge.forget();
    expect(await bridge.up(WANTED)).toBe("create");
    await bridge.destroy();
    expect(await names()).toEqual([]);
  });

  test("that vanished is made anew", async () => {
    await bridge.up(WANTED);
    await d.incus("network", "delete", "incusbr0");
    expect(await bridge.refresh()).toBe(true);
    expect(await bridge.up(WANTED)).toBe("create");
    expect(await names()).toEqual(["incusbr0"]);
  });

  test("whose making was cut off is made anew", async () => {
    const half = request({ socketPath: d.socketPath, path: "/1.0/networks", method: "POST" });
    half.on("error", () => undefined);
    const config = { ...WANTED.config, "user.taos.owner": "p/s/orange/incusbr0" };
    half.end(JSON.stringify({ name: "incusbr0", type: "bridge", config }));
    await until(async () => (await names()).length > 0, { what: "Incus to begin", everyMs: 5 });
    half.destroy();
    // Incus takes the interface back and leaves the entry.
    await until(
      async () => {
        const { status } = await d.query<{ status: string }>("/1.0/networks/incusbr0");
        return status === "Pending" && !(await d.inNetwork("ip", "-brief", "link")).includes("incusbr0");
      },
      { what: "Incus to give up" },
    );
    expect(await bridge.up(WANTED)).toBe("create");
    expect((await d.query<{ status: string }>("/1.0/networks/incusbr0")).status).toBe("Created");
    expect(await d.inNetwork("ip", "-brief", "link")).toContain("incusbr0");
  });

  test("in use is left in place", async () => {
    await bridge.up(WANTED);
    await d.incus("profile", "device", "add", "default", "eth0", "nic", "network=incusbr0");
    await bridge.destroy();
    expect(await names()).toEqual(["incusbr0"]);
  });
});
