import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { recordEvents } from "../../testbed/events.ts";
import { importImage } from "../../testbed/images.ts";
import { TestResource } from "../resource.ts";

const WANTED = { pool: "default", network: "incusbr0" };
const ROOT = { type: "disk", path: "/", pool: "default" };
const ETH0 = { type: "nic", name: "eth0", network: "incusbr0" };

describe("ProfileDevices", () => {
  let d: IncusDaemon;
  let devices: TestResource;
  beforeAll(async () => {
    d = await startDaemon({ name: "profile-devices" });
  });
  afterAll(() => d?.remove());
  beforeEach(async () => {
    await d.reset();
    await d.incus("storage", "create", "default", "dir");
    await d.incus("network", "create", "incusbr0", "ipv6.address=none");
    devices = new TestResource(d, "ProfileDevices", "default-profile");
  });
  const profile = (): Promise<{
    devices: Record<string, unknown>;
    config: Record<string, string>;
    description: string;
  }> => d.query("/1.0/profiles/default");

  test("adds root and eth0, finds them unchanged, and takes them away again", async () => {
    const before = await profile();
    expect(await devices.up(WANTED)).toBe("create");
    expect((await profile()).devices).toEqual({ root: ROOT, eth0: ETH0 });
    expect(devices.state).toMatchObject({ rootPool: "default" });
    expect(await devices.refresh()).toBe(false);
    expect(await devices.up(WANTED)).toBe("same");
    await devices.destroy();
    expect(await profile()).toEqual(before);
  });

  test("leaves what is there: other pool, other names, own settings", async () => {
    await d.incus("storage", "create", "big", "dir");
    await d.incus("profile", "device", "add", "default", "disk0", "disk", "path=/", "pool=big", "size=9GiB");
    await d.incus("profile", "device", "add", "default", "lan", "nic", "nictype=bridged", "parent=incusbr0");
    const before = await profile();
    const record = await recordEvents(d);
    expect(await devices.up(WANTED)).toBe("create");
    expect(devices.state).toMatchObject({ rootPool: "big" });
    await devices.destroy();
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
    expect(await profile()).toEqual(before);
  });

  test("puts back a device that was removed by hand, beside what others added", async () => {
    await devices.up(WANTED);
    await d.incus("profile", "device", "remove", "default", "eth0");
    await d.incus("profile", "set", "default", "user.theirs=kept");
    await d.incus("profile", "device", "add", "default", "gpu", "none");
    expect(await devices.refresh()).toBe(true);
    expect(await devices.up(WANTED)).toBe("update");
    const { devices: live, config } = await profile();
    expect(live).toEqual({ root: ROOT, eth0: ETH0, gpu: { type: "none" } });
    expect(config["user.theirs"]).toBe("kept");
    await devices.destroy();
    expect((await profile()).devices).toEqual({ gpu: { type: "none" } });
  });

  test("does not take a device named root or eth0 that is something else", async () => {
    await d.incus("profile", "device", "add", "default", "root", "none");
    await devices.up(WANTED);
    expect((await profile()).devices).toEqual({ root: { type: "none" }, "taos-root": ROOT, eth0: ETH0 });
  });

  test("recognises its own after a run that was killed, and keeps them while a container uses them", async () => {
    await devices.up(WANTED);
    devices.forget();
    await devices.up(WANTED);
    await importImage(d, "taos-base");
    await d.incus("init", "taos-base", "mary");
    await devices.destroy();
    expect((await profile()).devices).toEqual({ root: ROOT, eth0: ETH0 });
  });

  test("adds nothing that containers would get, too; what was added once comes back beside them", async () => {
    await importImage(d, "taos-base");
    await d.incus("init", "taos-base", "mary", "--storage=default");
    const bridge = new TestResource(d, "Network", "br7");
    const record = await recordEvents(d);
    expect(await devices.up(WANTED)).toBe("create");
    expect(await bridge.up({ name: "br7", ifNeeded: true })).toBe("create");
    expect(await devices.refresh()).toBe(false);
    expect(await bridge.refresh()).toBe(false);
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
    expect(await profile()).toMatchObject({ devices: {} });
    expect(await d.query("/1.0/networks/br7").catch(() => "none")).toBe("none");

    await d.incus("delete", "mary");
    expect(await devices.refresh()).toBe(true);
    await devices.up(WANTED);
    expect((await profile()).devices).toEqual({ root: ROOT, eth0: ETH0 });
    await d.incus("init", "taos-base", "naira");
    await d.incus("profile", "device", "remove", "default", "eth0");
    expect(await devices.refresh()).toBe(true);
    await devices.up(WANTED);
    expect((await profile()).devices).toEqual({ root: ROOT, eth0: ETH0 });
  });

  test("a bridge is made for the profile that needs it", async () => {
    const bridge = new TestResource(d, "Network", "br7");
    await bridge.up({ name: "br7", ifNeeded: true, config: { "ipv6.address": "none" } });
    expect(bridge.state).toMatchObject({ adopted: false });
    await devices.up({ ...WANTED, network: "br7" });
    expect(await bridge.refresh()).toBe(false);
    await bridge.destroy();
    expect(await d.incus("network", "show", "br7")).toContain("user.taos.owner");
  });
});
