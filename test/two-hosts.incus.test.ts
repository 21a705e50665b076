import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { daemonContents } from "./pulumi/snapshot.ts";
import { changesOf, createStack, errorsOf, type HostsConfig, type TestStack } from "./pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "./testbed/daemon.ts";
import { recordEvents } from "./testbed/events.ts";
import { importImage } from "./testbed/images.ts";
import { type TrustedClient, trustNewClient } from "./testbed/trust.ts";

const AGENT = { image: "taos-base", protected: false };

describe("a stack of two hosts, one over its socket and one over https", () => {
  let near: IncusDaemon;
  let far: IncusDaemon;
  let client: TrustedClient;
  let stack: TestStack;
  let before: unknown[];

  function hosts(nearAgents: string[], farAgents = ["far-iris"]): HostsConfig {
    const { certificateFile, keyFile, serverCertificateFile } = client;
    return {
      near: {
        connection: `unix:${near.socketPath}`,
        pool: { size: "6GiB" },
        images: ["taos-base"],
        agents: Object.fromEntries(nearAgents.map((name) => [name, AGENT])),
      },
      far: {
        connection: far.url,
        tls: { certificateFile, keyFile, serverCertificateFile },
        pool: { size: "6GiB" },
        images: ["taos-base"],
        agents: Object.fromEntries(farAgents.map((name) => [name, AGENT])),
      },
    };
  }

  beforeAll(async () => {
    [near, far] = await Promise.all([
      startDaemon({ name: "two-near" }),
      startDaemon({ name: "two-far", https: true }),
    ]);
    await Promise.all([importImage(near, "taos-base"), importImage(far, "taos-base")]);
    client = await trustNewClient(far);
    before = await Promise.all([daemonContents(near), daemonContents(far)]);
    stack = await createStack({ name: "two", hosts: hosts(["near-iris"]) });
  });
  afterAll(async () => {
    await stack?.remove();
    await near?.remove();
    await far?.remove();
  });

  test("up provisions both, a second one changes neither", { timeout: 120_000 }, async () => {
    const up = await stack.up();
    expect(errorsOf(up)).toBe("");
    expect(up.exitCode).toBe(0);
    expect(await near.ipv4("near-iris")).toMatch(/^10\./);
    expect(await far.ipv4("far-iris")).toMatch(/^10\./);
    for (const host of [near, far]) {
      expect(await host.query("/1.0/storage-pools/default")).toMatchObject({ driver: "btrfs" });
    }
    const second = await stack.up();
    expect(second.exitCode).toBe(0);
    expect(changesOf(second)).toEqual([]);
  });

  test("while one is down, the error names it and the other goes on", { timeout: 120_000 }, async () => {
    await far.stop();
    await stack.setHosts(hosts(["near-iris", "near-juno"]));
    const up = await stack.up();
    expect(up.exitCode).not.toBe(0);
    expect(errorsOf(up)).toMatch(/Host "far" cannot be reached over https:/);
    expect(errorsOf(up)).not.toMatch(/Host "near"/);
    expect(await near.ipv4("near-juno")).toMatch(/^10\./);

    await far.start();
    const record = await recordEvents(far);
    const again = await stack.up();
    expect(errorsOf(again)).toBe("");
    expect(again.exitCode).toBe(0);
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
  });

  test("while one hangs, the error names it and the other goes on", { timeout: 300_000 }, async () => {
    const frozen = near.pid;
    if (frozen === undefined) throw new Error("near does not run");
    await stack.setHosts(hosts(["near-iris", "near-juno"], ["far-iris", "far-kim"]));
    process.kill(frozen, "SIGSTOP");
    try {
      const up = await stack.up({ timeoutMs: 280_000 });
      expect(up.exitCode).not.toBe(0);
      expect(errorsOf(up)).toMatch(/Host "near" did not answer/);
      expect(errorsOf(up)).not.toMatch(/Host "far"/);
      expect(await far.ipv4("far-kim")).toMatch(/^10\./);
    } finally {
      process.kill(frozen, "SIGCONT");
    }
    expect(errorsOf(await stack.up())).toBe("");
  });

  test("destroy leaves both as they were found", { timeout: 120_000 }, async () => {
    const destroy = await stack.destroy();
    expect(errorsOf(destroy)).toBe("");
    expect(destroy.exitCode).toBe(0);
    expect(await Promise.all([daemonContents(near), daemonContents(far)])).toEqual(before);
  });
});
