import { stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { changesOf, createStack, errorsOf, type RunResult, type TestStack } from "../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { importImage } from "../testbed/images.ts";

/** A host as somebody set it up who did not take Incus' usual names. */
describe("a host whose default profile has its own pool ssd and bridge br0", () => {
  let d: IncusDaemon;
  let stack: TestStack;
  beforeAll(async () => {
    d = await startDaemon({ name: "own-pool" });
    await d.incus("storage", "create", "ssd", "btrfs", "size=1GiB");
    await d.incus("network", "create", "br0", "ipv6.address=none");
    await d.incus("profile", "device", "add", "default", "disk", "disk", "path=/", "pool=ssd");
    await d.incus("profile", "device", "add", "default", "net0", "nic", "network=br0", "name=eth0");
    await importImage(d, "bb");
    stack = await createStack({ name: "own-pool", hosts: {} });
  });
  afterAll(async () => {
    await stack?.remove();
    await d?.remove();
  });

  const names = async (path: string): Promise<string[]> =>
    (await d.query<{ name: string; managed?: boolean }[]>(`${path}?recursion=1`))
      .filter(({ managed }) => managed !== false)
      .map(({ name }) => name)
      .sort();
  const poolOf = async (instance: string): Promise<string | undefined> =>
    (
      await d.query<{ expanded_devices: Record<string, Record<string, string>> }>(
        `/1.0/instances/${instance}`,
      )
    ).expanded_devices["disk"]?.["pool"];
  async function up(host: Record<string, unknown>): Promise<RunResult> {
    await stack.setHosts({ board: { connection: `unix:${d.socketPath}`, ...host } });
    const result = await stack.up({ withPreview: true });
    expect(errorsOf(result)).toBe("");
    expect(result.exitCode).toBe(0);
    return result;
  }
  const host = { images: ["bb"], agents: { iris: { image: "bb", disk: "256MiB" } } };

  test("gets its agents there, and neither pool nor bridge beside them", { timeout: 300_000 }, async () => {
    const made = await up(host);
    // Once, though preview and update both look.
    expect(
      made.output.match(/launches go to pool ssd \(btrfs\), network br0, by the default profile/g),
    ).toHaveLength(1);
    expect(await names("/1.0/storage-pools")).toEqual(["ssd"]);
    expect(await names("/1.0/networks")).toEqual(["br0"]);
    expect(await poolOf("iris")).toBe("ssd");
    // In any order: the client goes through a map.
    const devices = await d.incus("profile", "device", "list", "default");
    expect(devices.split("\n").sort()).toEqual(["disk", "net0"]);
    expect(await stack.outputs<{ hosts: Record<string, object> }>()).toMatchObject({
      hosts: { board: { pool: "ssd", driver: "btrfs", launchPool: "ssd" } },
    });
    expect(changesOf(await up(host))).toEqual([]);
  });

  test("keeps a size that a hand gave its pool; preview shows no change where the plan does not", {
    timeout: 300_000,
  }, async () => {
    const file = join(d.dir, "disks/ssd.img");
    await truncate(file, 9 * 1024 ** 3);
    const left = await up({ ...host, pool: { size: "7GiB" } });
    expect(left.output.replaceAll(/\s+/g, " ")).toContain("board: nothing to do pool ssd: btrfs, 1.0 GiB");
    expect(left.output.replaceAll(/\s+/g, " ")).toMatch(
      /pool ssd is not grown to 7\.0 GiB: .*its loop file 9\.0 GiB, \/dev\/loop\d+ 1\.0 GiB/,
    );
    expect(changesOf(left)).toEqual([]);
    expect((await stat(file)).size).toBe(9 * 1024 ** 3);
    await truncate(file, 1024 ** 3);
    expect(changesOf(await up({ ...host, pool: { size: "5GiB" } }))).toEqual(["board/default update"]);
    expect((await stat(file)).size).toBe(5 * 1024 ** 3);
    expect(changesOf(await up(host))).toEqual([]);
  });

  test("gets another pool and bridge on the config's word; the plan says that launches stay", {
    timeout: 300_000,
  }, async () => {
    const made = await up({ ...host, pool: { name: "fast", size: "5GiB" }, bridge: "agents0" });
    expect(made.output).toContain("launches go to pool ssd (btrfs), network br0");
    expect(made.output.replaceAll(/\s+/g, " ")).toContain(
      "launches go to pool ssd, images and agents of this stack to pool fast",
    );
    expect(await names("/1.0/storage-pools")).toEqual(["fast", "ssd"]);
    expect(await names("/1.0/networks")).toEqual(["agents0", "br0"]);
    expect(await poolOf("iris")).toBe("ssd");
    await d.incus("launch", "bb", "by-hand");
    expect(
      (await d.query<{ expanded_devices: Record<string, Record<string, string>> }>("/1.0/instances/by-hand"))
        .expanded_devices["disk"]?.["pool"],
    ).toBe("ssd");
  });

  test("loses what was made for the stack with the config's word, and nothing else", {
    timeout: 300_000,
  }, async () => {
    const unprotected = { ...host, agents: { iris: { ...host.agents.iris, protected: false } } };
    await up(unprotected);
    const destroy = await stack.destroy();
    expect(errorsOf(destroy)).toBe("");
    expect(await names("/1.0/storage-pools")).toEqual(["ssd"]);
    expect(await names("/1.0/networks")).toEqual(["br0"]);
    expect(await names("/1.0/instances")).toEqual(["by-hand"]);
  });
});
