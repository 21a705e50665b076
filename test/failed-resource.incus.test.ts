import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { daemonContents } from "./pulumi/snapshot.ts";
import { changesOf, createStack, errorsOf, type HostsConfig, type TestStack } from "./pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "./testbed/daemon.ts";
import { testImage } from "./testbed/images.ts";

describe("a resource that fails", () => {
  let d: IncusDaemon;
  let stack: TestStack;
  let made: unknown;

  async function hosts(change: Record<string, unknown>): Promise<HostsConfig> {
    const { unifiedFile } = await testImage();
    const images = [{ alias: "taos-base", file: unifiedFile }];
    const agents = { iris: { image: "taos-base", protected: false } };
    return {
      orange: { connection: `unix:${d.socketPath}`, pool: { size: "6GiB" }, images, agents, ...change },
    };
  }

  beforeAll(async () => {
    d = await startDaemon({ name: "failed-resource" });
    stack = await createStack({ name: "failed", hosts: await hosts({}) });
    const up = await stack.up();
    expect(errorsOf(up)).toBe("");
    made = await daemonContents(d);
  });
  afterAll(async () => {
    await stack?.remove();
    await d?.remove();
  });

  test("a pool that is refused takes nothing with it that depends on it", { timeout: 90_000 }, async () => {
    await stack.setHosts(await hosts({ pool: { driver: "zfs", size: "6GiB" } }));
    const up = await stack.up();
    expect(up.exitCode).not.toBe(0);
    expect(errorsOf(up)).toMatch(/Host "orange": pool default: .*zfs is wanted\. Set driver: btrfs/);
    expect(await daemonContents(d)).toEqual(made);
    expect(await stack.resources()).toHaveLength(5);
  });

  test("back to the good config, nothing is to do", { timeout: 60_000 }, async () => {
    await stack.setHosts(await hosts({}));
    const up = await stack.up();
    expect(errorsOf(up)).toBe("");
    expect(changesOf(up)).toEqual([]);
  });

  test("an agent whose name is taken stops its host before any write", { timeout: 60_000 }, async () => {
    await d.incus("init", "taos-base", "taken");
    const before = await daemonContents(d);
    const agent = { image: "taos-base", protected: false };
    await stack.setHosts(await hosts({ agents: { iris: agent, taken: agent, juno: agent } }));
    const up = await stack.up();
    expect(up.exitCode).not.toBe(0);
    expect(errorsOf(up)).toMatch(
      /container taken: it exists already .* List it under containers .* or give the agent another name/,
    );
    expect(await daemonContents(d)).toEqual(before);
    expect(await stack.resources()).toHaveLength(5);
  });

  test("an agent that does not get ready fails alone; corrected, it is gone on with", {
    timeout: 90_000,
  }, async () => {
    const agent = { image: "taos-base", protected: false };
    const slow = { ...agent, ready: { command: ["test", "-e", "/ready"], timeout: "2s" } };
    await stack.setHosts(await hosts({ agents: { iris: agent, juno: agent, slow } }));
    const up = await stack.up();
    expect(up.exitCode).not.toBe(0);
    expect(errorsOf(up)).toMatch(/Instance "slow" does not pass "test" after 2 s/);
    expect(await d.ipv4("juno")).toMatch(/^10\./);
    expect(await stack.resources()).toHaveLength(7);

    await d.incus("exec", "slow", "--", "touch", "/ready");
    const again = await stack.up();
    expect(errorsOf(again)).toBe("");
    expect(changesOf(again)).toEqual(["orange/slow update"]);
    expect(await d.incus("config", "get", "slow", "user.taos.stage")).toBe("");
    expect(changesOf(await stack.up())).toEqual([]);
  });
});
