import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { parse } from "yaml";
import { readRecords, recordsByCli } from "../../infra/fleet/record.ts";
import { pulumiPath } from "../pulumi/cli.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { recordEvents } from "../testbed/events.ts";
import { setUpHost } from "../testbed/host-setup.ts";
import { importImage } from "../testbed/images.ts";
import { type TrustedClient, trustNewClient } from "../testbed/trust.ts";
import { outcomes, TestFleet } from "./fleet.ts";

describe("a fleet of a new host over https, one with containers on dir, and one that is off", () => {
  let fresh: IncusDaemon;
  let old: IncusDaemon;
  let client: TrustedClient;
  let fleet: TestFleet;

  const file = () => {
    const { certificateFile, keyFile, serverCertificateFile } = client;
    return {
      defaults: { pool: { size: "6GiB" }, images: ["taos-base"] },
      hosts: {
        "fleet-off": { connection: "unix:/nowhere/unix.socket" },
        "fleet-new": {
          connection: fresh.url,
          tls: { certificateFile, keyFile, serverCertificateFile },
          agents: { "new-iris": { image: "taos-base", protected: false } },
        },
        "fleet-old": {
          connection: `unix:${old.socketPath}`,
          containers: { mary: {} },
          optIn: { migrate: ["mary"] },
        },
      },
    };
  };

  beforeAll(async () => {
    [fresh, old] = await Promise.all([
      startDaemon({ name: "fleet-dead-new", https: true }),
      startDaemon({ name: "fleet-dead-old" }),
    ]);
    await setUpHost(old, { driver: "dir" });
    await Promise.all([importImage(fresh, "taos-base"), importImage(old, "taos-base")]);
    await old.incus("launch", "taos-base", "mary");
    client = await trustNewClient(fresh);
    fleet = await TestFleet.create("fleet-dead");
    await fleet.write(file());
  });
  afterAll(async () => {
    await fleet?.remove();
    await fresh?.remove();
    await old?.remove();
  });

  test("look and preview say what is to do on which, and write nothing", { timeout: 180_000 }, async () => {
    const record = await recordEvents(fresh);
    const look = await fleet.run(["look"]);
    expect(await fleet.calls()).toEqual([]);
    expect(outcomes(look.output)).toEqual([
      "fleet-off unreachable",
      "fleet-new changes",
      "fleet-old changes",
    ]);
    expect(look.code).toBe(2 + 4);
    expect(look.output.hosts[1]?.plan?.actions.map(({ kind }) => kind)).toContain("create-pool");
    const preview = await fleet.run(["preview"]);
    expect(outcomes(preview.output)).toEqual(outcomes(look.output));
    expect(preview.output.hosts.map(({ pulumi }) => pulumi)).toEqual([false, true, true]);
    expect(preview.code).toBe(2 + 4);
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
  });

  test("up completes the others, and table, JSON and exit code tell which is which", {
    timeout: 280_000,
  }, async () => {
    const { code, output, told } = await fleet.run(["up"]);
    expect(outcomes(output), told).toEqual([
      "fleet-off unreachable",
      "fleet-new changed",
      "fleet-old changed",
    ]);
    expect(code).toBe(4);
    expect(output).toMatchObject({ exitCode: 4, counts: { unreachable: 1, changed: 2 } });
    expect(output.hosts[0]?.reason).toMatch(/Host "fleet-off" cannot be reached/);
    expect(await fresh.ipv4("new-iris")).toMatch(/^10\./);
    expect(await old.query("/1.0/storage-pools/default-cow")).toMatchObject({ driver: "btrfs" });
    expect(await old.incus("config", "device", "get", "mary", "root", "pool")).toBe("default-cow");
  });

  test("a second up starts no Pulumi and says so", { timeout: 180_000 }, async () => {
    await fleet.calls();
    const { stdout, exitCode } = await fleet.start(["up"]);
    expect(await fleet.calls()).toEqual([]);
    expect(exitCode).toBe(4);
    expect(stdout).toMatch(/^fleet-off +1 +unreachable +Host "fleet-off"/m);
    expect(stdout).toMatch(
      /^fleet-new +1 +unchanged +nothing to do, as at its last up; Pulumi was not started$/m,
    );
    expect(stdout).toMatch(/^3 hosts: 1 unreachable, 2 unchanged$/m);
    const status = await fleet.run(["status"]);
    expect(outcomes(status.output)).toEqual([
      "fleet-off changes",
      "fleet-new unchanged",
      "fleet-old unchanged",
    ]);
    const one = await fleet.run(["look", "--only", "fleet-new"]);
    expect(one.code).toBe(0);
  });

  test("drift is told apart from what is planned and from a host that is off", {
    timeout: 180_000,
  }, async () => {
    const changed = file();
    await fresh.incus("delete", "--force", "new-iris");
    const drift = await fleet.run(["drift"]);
    expect(outcomes(drift.output)).toEqual([
      "fleet-off unreachable",
      "fleet-new drifted",
      "fleet-old unchanged",
    ]);
    expect(drift.code).toBe(4 + 32);
    Object.assign(changed.hosts["fleet-old"], {
      agents: { "old-juno": { image: "taos-base", protected: false } },
    });
    await fleet.write(changed);
    const planned = await fleet.run(["drift"]);
    expect(outcomes(planned.output)).toEqual([
      "fleet-off unreachable",
      "fleet-new drifted",
      "fleet-old changes",
    ]);
    expect(planned.code).toBe(2 + 4 + 32);
  });

  test("a paused host is shown and not written to", { timeout: 180_000 }, async () => {
    const changed = file();
    Object.assign(changed.hosts["fleet-new"], { paused: "its owner is at work" });
    await fleet.write(changed);
    await fleet.calls();
    const record = await recordEvents(fresh);
    const up = await fleet.run(["up", "--only", "fleet-new"]);
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
    expect(outcomes(up.output)).toEqual(["fleet-new paused"]);
    expect(up.output.hosts[0]?.reason).toBe("its owner is at work; 1 to do");
    expect(up.code).toBe(0);
    expect(await fleet.calls()).toEqual([]);
    const look = await fleet.run(["look", "--only", "fleet-new"]);
    expect(look.output.hosts[0]).toMatchObject({ outcome: "changes", paused: "its owner is at work" });
  });

  test("an encrypted value reaches its agent, and nothing shows it", { timeout: 180_000 }, async () => {
    const beside = join(fleet.dir, "secrets.yaml");
    const value = "not-to-be-seen-2718";
    const flags = ["--stack", "fleet-new", "--config-file", beside];
    await fleet.pulumi(["config", "set", "--secret", "token", ...flags], value);
    const { encryptionsalt, config } = parse(await readFile(beside, "utf8")) as {
      encryptionsalt: string;
      config: Record<string, unknown>;
    };
    const next = file();
    Object.assign(next.hosts["fleet-new"].agents["new-iris"], {
      environment: { TOKEN: config["taos-hosts:token"] },
    });
    await fleet.write({ ...next, encryptionsalt });
    const up = await fleet.run(["up", "--only", "fleet-new"]);
    expect(outcomes(up.output), up.told).toEqual(["fleet-new changed"]);
    expect(await fresh.incus("config", "get", "new-iris", "environment.TOKEN")).toBe(value);
    const expanded = await fleet.start(["expand"]);
    expect(expanded.stdout).toMatch(/TOKEN:\n +secure: "v1:/);
    const log = await readFile(up.output.hosts[0]?.log ?? "", "utf8");
    expect(`${expanded.all}${log}${JSON.stringify(up.output)}${up.told}`).not.toContain(value);
    const again = await fleet.run(["up", "--only", "fleet-new"]);
    expect(again.output.hosts[0]).toMatchObject({ outcome: "unchanged", pulumi: false });
  });

  test("every backend's CLI tells the same records as the files of a folder", async () => {
    for (const [name, value] of Object.entries({ ...fleet.env, PATH: await pulumiPath() }))
      vi.stubEnv(name, value);
    try {
      const names = ["fleet-off", "fleet-new", "fleet-old"];
      const records = await readRecords("taos-hosts", names);
      expect(await recordsByCli(names)).toEqual(records);
      expect([...records.values()].map(({ applied }) => applied !== null)).toEqual([false, true, true]);
    } finally {
      vi.unstubAllEnvs();
    }
  });
});
