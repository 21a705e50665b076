import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { copyCheckout } from "../pulumi/checkout.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { until } from "../testbed/deadline.ts";
import { type EventRecord, recordEvents } from "../testbed/events.ts";
import { setUpHost } from "../testbed/host-setup.ts";
import { importImage } from "../testbed/images.ts";
import { type TrustedClient, trustNewClient } from "../testbed/trust.ts";
import { outcomes, TestFleet } from "./fleet.ts";

/** An agent that is up at once, and one that is ready as soon as a test lets it. */
const AGENT = { image: "taos-base", protected: false, ready: "none" };
const HELD = { ...AGENT, ready: { command: ["test", "-e", "/srv/go"], timeout: "200s" } };
const BROKEN = { ...AGENT, ready: { command: ["false"], timeout: "2s" } };

describe("a roll-out over a canary and a second wave", { timeout: 280_000 }, () => {
  let first: IncusDaemon;
  let second: IncusDaemon;
  let client: TrustedClient;
  let fleet: TestFleet;
  let record: EventRecord | undefined;

  const write = (agents: [canary: object, other: object], rules: object = {}) => {
    const { certificateFile, keyFile, serverCertificateFile } = client;
    return fleet.write({
      hosts: {
        "fleet-second": { connection: `unix:${second.socketPath}`, agents: agents[1] },
        "fleet-canary": {
          tags: ["canary"],
          connection: first.url,
          tls: { certificateFile, keyFile, serverCertificateFile },
          agents: agents[0],
        },
      },
      waves: [{ tag: "canary", ...rules }, { percent: 100 }],
    });
  };
  /** Starts `up`, and comes back once the second host's agent is there and Pulumi waits for it. */
  const upUntilHeld = async (daemon: IncusDaemon, agent: string) => {
    const run = fleet.start(["up", "--json"]);
    await until(
      async () => (await daemon.incus("list", "--format=csv", "--columns=ns")).includes(`${agent},RUNNING`),
      {
        what: `${agent} to be started`,
        deadlineMs: 60_000,
      },
    );
    return { run };
  };
  const letGo = (daemon: IncusDaemon, agent: string) => daemon.incus("exec", agent, "--", "touch", "/srv/go");

  beforeAll(async () => {
    [first, second] = await Promise.all([
      startDaemon({ name: "fleet-wave-first", https: true }),
      startDaemon({ name: "fleet-wave-second" }),
    ]);
    for (const daemon of [first, second]) {
      await setUpHost(daemon, { driver: "btrfs" });
      await importImage(daemon, "taos-base");
    }
    client = await trustNewClient(first);
    fleet = await TestFleet.create("fleet-waves");
  });
  afterAll(async () => {
    await fleet?.remove();
    await first?.remove();
    await second?.remove();
  });
  afterEach(async () => {
    await record?.stop();
    record = undefined;
  });

  test("a canary that fails leaves the second wave untouched", async () => {
    await write([{ sick: BROKEN }, { rose: AGENT }]);
    record = await recordEvents(second);
    const { code, output, told } = await fleet.run(["up"]);
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
    expect(outcomes(output), told).toEqual(["fleet-second untouched", "fleet-canary failed"]);
    expect(code).toBe(2 + 16);
    expect(output.hosts[0]).toMatchObject({ wave: 2, pulumi: false, reason: "1 of wave 1 failed, 0 may" });
    expect(output.hosts[1]?.reason).toMatch(/sick/);
    expect((await fleet.calls()).filter((call) => call.includes("fleet-second"))).toEqual([]);
  });

  test("the second wave begins when the canary's health command succeeds", async () => {
    const healthy = join(fleet.dir, "healthy");
    await write([{ iris: AGENT }, { rose: AGENT }], { health: ["test", "-e", healthy] });
    record = await recordEvents(second);
    const sick = await fleet.run(["up"]);
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
    expect(outcomes(sick.output)).toEqual(["fleet-second untouched", "fleet-canary changed"]);
    expect(sick.output.hosts[0]?.reason).toBe("after wave 1 its health command ended with 1");
    expect(sick.code).toBe(2);
    await writeFile(healthy, "");
    await fleet.calls();
    const { code, output, told } = await fleet.run(["up"]);
    expect(outcomes(output), told).toEqual(["fleet-second changed", "fleet-canary unchanged"]);
    expect(code).toBe(0);
    expect((await fleet.calls()).filter((call) => call.includes("fleet-canary"))).toEqual([]);
    expect(await second.incus("list", "--format=csv", "--columns=ns")).toBe("rose,RUNNING");
  });

  test("killed -9 within the second wave, it is resumed from another checkout", async () => {
    await write([
      { iris: AGENT, kira: AGENT },
      { rose: AGENT, held: HELD },
    ]);
    const { run: killed } = await upUntilHeld(second, "held");
    killed.kill("SIGKILL");
    await killed;
    // Its Pulumi goes on alone and holds the stack.
    const [pid] = await fleet.lockPids("fleet-second");
    const locked = await fleet.run(["up", "--lock-timeout", "0"]);
    expect(outcomes(locked.output)).toEqual(["fleet-second locked", "fleet-canary unchanged"]);
    expect(locked.code).toBe(8);
    expect(locked.output.hosts[0]?.reason).toMatch(
      new RegExp(`^its stack is held by root@\\S+ \\(pid ${pid}\\) at `),
    );
    const checkout = join(fleet.dir, "checkout");
    await mkdir(checkout);
    await copyCheckout(checkout);
    await fleet.calls();
    const [resumed] = await Promise.all([fleet.run(["up"], checkout), letGo(second, "held")]);
    expect(resumed.code, resumed.told).toBe(0);
    expect(resumed.output.hosts.map(({ host, pulumi }) => `${host} ${pulumi}`)).toEqual([
      "fleet-second true",
      "fleet-canary false",
    ]);
    expect((await fleet.calls()).filter((call) => call.includes("fleet-canary"))).toEqual([]);
    expect(await second.incus("list", "--format=csv", "--columns=ns")).toBe("held,RUNNING\nrose,RUNNING");
    expect(await fleet.lockPids("fleet-second")).toEqual([]);
    const again = await fleet.run(["up"]);
    expect(outcomes(again.output)).toEqual(["fleet-second unchanged", "fleet-canary unchanged"]);
    expect(await fleet.calls()).toEqual([]);
    await rm(checkout, { recursive: true });
  });

  test("stopped once, the running host comes to an end and no other begins", async () => {
    await write([
      { iris: AGENT, kira: AGENT, slow: HELD },
      { rose: AGENT, held: HELD, vera: AGENT },
    ]);
    const { run: stopped } = await upUntilHeld(first, "slow");
    stopped.kill("SIGINT");
    await letGo(first, "slow");
    const { exitCode, stdout, all } = await stopped;
    expect(exitCode, all).toBe(130);
    expect(JSON.parse(stdout)).toMatchObject({ hosts: [{ host: "fleet-second", outcome: "untouched" }, {}] });
    expect(await second.incus("list", "vera", "--format=csv")).toBe("");
    expect(await fleet.lockPids("fleet-canary")).toEqual([]);
    const next = await fleet.run(["up"]);
    expect(next.code, next.told).toBe(0);
    expect(await second.incus("list", "vera", "--format=csv", "--columns=n")).toBe("vera");
    expect(await first.incus("list", "--format=csv", "--columns=n")).toBe("iris\nkira\nslow");
  });

  test("stopped twice, it ends at once, and the next run goes on", async () => {
    const canary = { iris: AGENT, kira: AGENT, slow: HELD };
    await write([
      { ...canary, late: HELD },
      { rose: AGENT, held: HELD, vera: AGENT },
    ]);
    const { run: stopped } = await upUntilHeld(first, "late");
    stopped.kill("SIGINT");
    // Nobody lets the agent go, so only the second one ends it. At once would be what npm passes on twice.
    await delay(1_000);
    stopped.kill("SIGINT");
    const { exitCode, stdout, all } = await stopped;
    expect(exitCode, all).toBe(130);
    expect(JSON.parse(stdout)).toMatchObject({
      hosts: [{}, { host: "fleet-canary", outcome: "interrupted" }],
    });
    if ((await fleet.lockPids("fleet-canary")).length > 0)
      await fleet.pulumi(["cancel", "--yes", "--stack", "fleet-canary"]);
    await letGo(first, "late");
    const next = await fleet.run(["up"]);
    expect(next.code, next.told).toBe(0);
    expect(await first.incus("list", "late", "--format=csv", "--columns=n")).toBe("late");
  });

  test("what was reviewed is what is applied, and nothing else", async () => {
    const file = join(fleet.dir, "reviewed.json");
    const canary = { iris: AGENT, kira: AGENT, slow: HELD, late: HELD };
    const other = { rose: AGENT, held: HELD, vera: AGENT };
    await write([
      { ...canary, lena: AGENT },
      { ...other, lena: AGENT },
    ]);
    const preview = await fleet.run(["preview", "--save", file]);
    expect(outcomes(preview.output)).toEqual(["fleet-second changes", "fleet-canary changes"]);
    await second.incus("delete", "--force", "vera");
    const up = await fleet.run(["up", "--reviewed", file]);
    expect(outcomes(up.output), up.told).toEqual(["fleet-second refused", "fleet-canary changed"]);
    expect(up.code).toBe(8);
    expect(up.output.hosts[0]?.reason).toBe(
      "its plan is not the reviewed one; now also: create-agent container vera (taos-base). Review a new preview.",
    );
    expect(await second.incus("list", "lena", "--format=csv")).toBe("");
    await write([{ ...canary, lena: AGENT, mila: AGENT }, other]);
    const changed = await fleet.run(["up", "--reviewed", file]);
    expect(changed.output.hosts.map(({ reason }) => reason)).toEqual([
      expect.stringMatching(/^its config is another than the reviewed one/),
      expect.stringMatching(/^its config is another than the reviewed one/),
    ]);
  });
});
