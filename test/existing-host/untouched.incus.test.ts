import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { pulumiPath } from "../pulumi/cli.ts";
import { shippedHosts } from "../pulumi/shipped-stack.ts";
import {
  changesOf,
  createStack,
  errorsOf,
  type HostsConfig,
  type RunResult,
  TestStack,
} from "../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { type EventRecord, recordEvents } from "../testbed/events.ts";
import { type FaultyProxy, startProxy } from "../testbed/faulty-proxy.ts";
import { fingerprintOf, setUpBoard, USER_PROJECT } from "./board.ts";

type Json = Record<string, unknown>;

describe("a dir pool with containers on it", () => {
  let d: IncusDaemon;
  let proxy: FaultyProxy;
  let stack: TestStack;
  let before: Record<string, unknown>;
  let record: EventRecord;

  /** stacks/Pulumi.existing-host.yaml; replaced are the connection and stanley's project. `change` is over it. */
  async function board(change: Json = {}): Promise<HostsConfig> {
    const { board: shipped } = structuredClone(await shippedHosts("existing-host"));
    const containers = {
      ...(shipped?.["containers"] as Json),
      stanley: { protected: true, project: USER_PROJECT },
    };
    return { board: { ...shipped, connection: `unix:${proxy.socketPath}`, containers, ...change } };
  }

  beforeAll(async () => {
    d = await startDaemon({ name: "untouched" });
    await setUpBoard(d);
    proxy = await startProxy(d);
    stack = await createStack({ name: "existing-host", hosts: await board() });
    before = await fingerprintOf(d);
  });
  afterAll(async () => {
    await stack?.remove();
    await proxy?.close();
    await d?.remove();
  });
  beforeEach(async () => {
    record = await recordEvents(d);
  });
  // Whatever a test tried: no request that writes, no event, nothing else than before in databases, files, processes.
  afterEach(async () => {
    await record.stop();
    expect(record.events).toEqual([]);
    expect(proxy.writes()).toEqual([]);
    expect(await fingerprintOf(d)).toEqual(before);
  });

  async function tried(
    change: Json,
    run: (stack: TestStack) => Promise<RunResult> = (one) => one.up(),
  ): Promise<RunResult> {
    await stack.setHosts(await board(change));
    return run(stack);
  }

  test("preview exits 0 and reports all three, their bytes, snapshots and what opting in would do", {
    timeout: 90_000,
  }, async () => {
    const preview = await tried({}, (one) => one.preview());
    expect(errorsOf(preview)).toBe("");
    expect(preview.exitCode).toBe(0);
    const report = messagesOf(preview);
    expect(report).toContain("board: nothing to do");
    expect(report).toMatch(
      /^ *mary +default \(dir\) +yes +[\d.]+ [KM]iB +2 +nothing: not under optIn.migrate/m,
    );
    expect(report).toMatch(
      /^ *naira \(stopped\) +default \(dir\) +yes +[\d.]+ [KM]iB +0 +nothing: not under optIn.migrate/m,
    );
    expect(report).toMatch(
      /^ *user-1000\/stanley +default \(dir\) +yes +[\d.]+ [KM]iB +0 +nothing: not under optIn.migrate/m,
    );
    expect(report).toMatch(
      /pool default stays dir: used by mary, naira, user-1000\/stanley, snapshot mary\/monday/,
    );
    expect(report).toContain("Name containers under optIn.migrate");
  });

  test("up exits 0", { timeout: 90_000 }, async () => {
    const up = await tried({}, (one) => one.up({ withPreview: true }));
    expect(errorsOf(up)).toBe("");
    expect(up.exitCode).toBe(0);
    expect(up.output.match(/launches go to pool default/g), "the report, once a run").toHaveLength(1);
    expect(up.output).toMatch(/What happens, as previewed:\n *board: nothing to do\n/);
    const outputs = await stack.outputs<{ hosts: Record<string, Json> }>();
    expect(outputs.hosts["board"]).toMatchObject({
      pool: "default",
      driver: "dir",
      containers: { mary: "default", naira: "default", stanley: "default" },
    });
  });

  test("a second up finds everything unchanged", { timeout: 90_000 }, async () => {
    const up = await tried({});
    expect(up.exitCode).toBe(0);
    expect(changesOf(up)).toEqual([]);
  });

  test("protected: false gives nobody leave to do anything", { timeout: 90_000 }, async () => {
    const off = { protected: false };
    const up = await tried({
      containers: { mary: off, naira: off, stanley: { ...off, project: USER_PROJECT } },
    });
    expect(errorsOf(up)).toBe("");
    expect(up.exitCode).toBe(0);
    expect(messagesOf(up)).toContain("board: nothing to do");
  });

  test("an image for a container is no setting", { timeout: 90_000 }, async () => {
    const up = await tried({ containers: { mary: { image: "bb" } } });
    expect(up.exitCode).not.toBe(0);
    expect(errorsOf(up)).toContain("board.containers.mary.image");
  });

  test("containers taken out of the config are only forgotten", { timeout: 90_000 }, async () => {
    const up = await tried({ containers: {} });
    expect(errorsOf(up)).toBe("");
    expect(changesOf(up)).toEqual(
      expect.arrayContaining(["board/mary delete", "board/naira delete", "board/stanley delete"]),
    );
    expect(messagesOf(up)).toMatch(/mary +default \(dir\) +yes/);
  });

  test("agents named like existing containers are not adopted; the error has two ways out", {
    timeout: 90_000,
  }, async () => {
    const agents = {
      mary: { image: "bb", protected: false },
      stanley: { image: "bb", project: USER_PROJECT },
    };
    const up = await tried({ containers: {}, agents, optIn: { replace: ["mary", "stanley"] } });
    expect(up.exitCode).not.toBe(0);
    for (const name of ["mary", `${USER_PROJECT}/stanley`]) {
      expect(errorsOf(up)).toMatch(
        new RegExp(
          `container ${name}: it exists already and was not made by this stack. List it under containers.*another name`,
        ),
      );
    }
  });

  test("an opt-in that names nobody exactly is an error with the nearest names", {
    timeout: 90_000,
  }, async () => {
    const up = await tried({
      optIn: { migrate: ["Mary", "mar", "nairra", "ghost"], removeParked: ["mary-2"] },
    });
    expect(up.exitCode).not.toBe(0);
    const errors = errorsOf(up);
    expect(errors).toMatch(/"Mary" is not listed under containers or agents\. Nearest there: mary/);
    expect(errors).toMatch(/"mar" is not listed under containers or agents\. Nearest there: mary/);
    expect(errors).toMatch(/"nairra" is not listed under containers or agents\. Nearest there: naira/);
    expect(errors).toMatch(/"ghost" is not listed under containers or agents\..* Nothing was done/);
    expect(errors).toMatch(/"mary-2" is not listed under containers or agents\. Nearest there: mary/);
  });

  test("neither is a listed container that the host does not have by exactly this name", {
    timeout: 90_000,
  }, async () => {
    const names = { Mary: {}, nai: {}, stanley: {} };
    const up = await tried({ containers: names, optIn: { migrate: Object.keys(names) } });
    expect(up.exitCode).not.toBe(0);
    const errors = errorsOf(up);
    expect(errors).toMatch(
      /container Mary: there is no container of this name on the host\. Nearest on the host: mary/,
    );
    expect(errors).toMatch(
      /container nai: there is no container of this name on the host\. Nearest on the host: naira/,
    );
    expect(errors).toMatch(
      /container stanley: it is not in project default but in user-1000\. Set project: user-1000/,
    );
  });

  test.each(["btrfs", "zfs"])(
    "driver: %s on it is reported like auto, and no error",
    {
      timeout: 90_000,
    },
    async (driver) => {
      const up = await tried({ pool: { name: "default", driver } });
      expect(errorsOf(up)).toBe("");
      expect(up.exitCode).toBe(0);
      expect(messagesOf(up)).toMatch(/pool default stays dir: used by mary, naira, user-1000\/stanley/);
    },
  );

  test("a pool name that differs by case makes no second pool", { timeout: 90_000 }, async () => {
    const up = await tried({ pool: { name: "Default", driver: "btrfs", size: "5GiB" } });
    expect(up.exitCode).not.toBe(0);
    expect(errorsOf(up)).toMatch(/pool Default: there is no pool of this name, but one named default/);
  });

  test("the stack under another name is no reason to write", { timeout: 120_000 }, async () => {
    // From a folder without stack configs: the CLI renames the config along.
    const init = join(stack.dir, "init");
    await stack.pulumi(["stack", "rename", "renamed", "--stack", "existing-host", "--cwd", init]);
    // Pulumi updates what differs only in its owner mark, which is on nothing of this host.
    const options = { name: "renamed", hosts: {}, comparesPlan: false };
    const renamed = new TestStack(options, stack.dir, await pulumiPath());
    await renamed.setHosts(await board());
    const up = await renamed.up();
    expect(errorsOf(up)).toBe("");
    expect(up.exitCode).toBe(0);
    await stack.pulumi(["stack", "rename", "existing-host", "--stack", "renamed", "--cwd", init]);
  });

  test("a config without hosts does nothing", { timeout: 90_000 }, async () => {
    await stack.setHosts({});
    const up = await stack.up();
    expect(up.exitCode).not.toBe(0);
    expect(errorsOf(up)).toContain("nothing was done");
  });

  test("destroy leaves it as it is", { timeout: 120_000 }, async () => {
    const destroy = await stack.destroy();
    expect(errorsOf(destroy)).toBe("");
    expect(destroy.exitCode).toBe(0);
    expect(await stack.resources()).toEqual([]);
  });
});

/** Everything that was said, without colours and levels. */
function messagesOf(result: RunResult): string {
  return result.diagnostics.map(({ message }) => message).join("\n");
}
