import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type CommandOptions,
  changesOf,
  createStack,
  errorsOf,
  type RunResult,
  type TestStack,
} from "../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { recordEvents } from "../testbed/events.ts";
import { importImage } from "../testbed/images.ts";

describe("a host whose default profile has a dir pool of its own name", () => {
  let d: IncusDaemon;
  let stack: TestStack;
  beforeAll(async () => {
    d = await startDaemon({ name: "own-dir-pool" });
    await d.incus("storage", "create", "ssd", "dir");
    await d.incus("network", "create", "br0", "ipv6.address=none");
    await d.incus("profile", "device", "add", "default", "disk", "disk", "path=/", "pool=ssd");
    await d.incus("profile", "device", "add", "default", "net0", "nic", "network=br0", "name=eth0");
    await importImage(d, "bb");
    await d.incus("init", "bb", "mary");
    stack = await createStack({ name: "own-dir-pool", hosts: {} });
  });
  afterAll(async () => {
    await stack?.remove();
    await d?.remove();
  });

  const pools = async (): Promise<string[]> =>
    (await d.query<{ name: string; driver: string }[]>("/1.0/storage-pools?recursion=1"))
      .map(({ name, driver }) => `${name} ${driver}`)
      .sort();
  const poolOf = async (instance: string): Promise<string[]> => {
    const { expanded_devices: devices } = await d.query<{
      expanded_devices: Record<string, Record<string, string>>;
    }>(`/1.0/instances/${instance}`);
    return Object.values(devices).flatMap(({ path, pool }) => (path === "/" ? [pool ?? ""] : []));
  };
  async function up(optIn: object, more: object = {}, options: CommandOptions = {}): Promise<RunResult> {
    const connection = `unix:${d.socketPath}`;
    const host = {
      connection,
      pool: { size: "5GiB" },
      images: ["bb"],
      containers: { mary: {} },
      optIn,
      ...more,
    };
    await stack.setHosts({ board: host });
    const result = await stack.up({ withPreview: true, ...options });
    expect(errorsOf(result)).toBe("");
    expect(result.exitCode).toBe(0);
    return result;
  }

  test("without an opt-in it is left, and nothing is made beside it", { timeout: 180_000 }, async () => {
    const record = await recordEvents(d);
    const made = await up({});
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
    expect(made.output).toContain("launches go to pool ssd (dir), network br0, by the default profile");
  });

  test("a migration makes the second pool beside it, and launches follow; the life goes on from there", {
    timeout: 400_000,
  }, async () => {
    const moved = await up({ migrate: ["mary"] });
    expect(moved.output).toContain(
      "launches go to pool ssd-cow (btrfs), network br0, by the default profile",
    );
    expect(await pools()).toEqual(["ssd dir", "ssd-cow btrfs"]);
    expect(await poolOf("mary")).toEqual(["ssd-cow"]);
    expect(await d.incus("profile", "device", "get", "default", "disk", "pool")).toBe("ssd-cow");
    const agents = { agents: { iris: { image: "bb", protected: false } } };
    await up({ removeParked: ["mary"] }, agents);
    expect(await poolOf("iris")).toEqual(["ssd-cow"]);
    expect(changesOf(await up({ removeParked: ["mary"] }, agents))).toEqual([]);
    await d.incus("storage", "delete", "ssd");
    // Which of the two resources the pool is of changes in the state, and nothing on the host.
    await up({}, agents, { comparesPlan: false });
    expect(changesOf(await up({}, agents))).toEqual([]);
    expect(await pools()).toEqual(["ssd-cow btrfs"]);
    expect(await stack.outputs<{ hosts: object }>()).toMatchObject({
      hosts: { board: { pool: "ssd-cow", launchPool: "ssd-cow", containers: { mary: "ssd-cow" } } },
    });
  });
});
