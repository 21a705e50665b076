import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { setUpHost } from "../testbed/host-setup.ts";
import { importImage } from "../testbed/images.ts";
import { projectRoot } from "./cli.ts";
import { changesOf, createStack, errorsOf, type HostsConfig, type TestStack } from "./stack.ts";

const SECRET = "hunter2-of-iris";

describe("an up with nothing to do, told by a look", { timeout: 180_000 }, () => {
  let d: IncusDaemon;
  let stack: TestStack;

  const hosts = (): HostsConfig => ({
    board: {
      connection: `unix:${d.socketPath}`,
      images: ["bb"],
      containers: { mary: {} },
      agents: {
        iris: {
          image: "bb",
          environment: { TOKEN: SECRET },
          memory: "1GiB",
          files: [{ path: "/srv/note", content: "x" }],
        },
      },
    },
  });

  beforeAll(async () => {
    d = await startDaemon({ name: "unchanged-up" });
    await setUpHost(d, { driver: "btrfs" });
    await importImage(d, "bb");
    await d.incus("launch", "bb", "mary");
    stack = await createStack({ name: "unchanged", hosts: hosts() });
  });
  afterAll(async () => {
    await stack?.remove();
    await d?.remove();
  });

  /** What `npm run up` asks before it starts Pulumi. */
  async function lookAt(one: TestStack): Promise<{ code: number | undefined; text: string }> {
    const args = ["infra/commands/unchanged-command.ts", "--stack", one.name];
    args.push("--config-file", one.configFile);
    const { exitCode, all } = await execa("node", args, {
      ...{ cwd: projectRoot, env: one.env, extendEnv: false, reject: false, all: true, timeout: 60_000 },
    });
    return { code: exitCode, text: all };
  }

  const look = () => lookAt(stack);

  async function runUp(one: TestStack): Promise<string[]> {
    const run = await one.up();
    expect(errorsOf(run)).toBe("");
    expect(run.exitCode, run.output).toBe(0);
    return changesOf(run);
  }
  const up = () => runUp(stack);

  const kept = (): string => join(stack.dir, "backend/looks/unchanged.json");

  test("is answered without Pulumi only after a run that changed nothing", async () => {
    expect((await look()).code).toBe(3);
    expect(await up()).not.toEqual([]);
    expect((await look()).code).toBe(3);
    expect(await up()).toEqual([]);
    const { code, text } = await look();
    expect(code, text).toBe(0);
    expect(text).toMatch(/^board: nothing to do\n/);
    expect(text).toContain("Unchanged: config, program, hosts and state are as the last run left them.");
    expect(await readFile(kept(), "utf8")).not.toContain(SECRET);
    expect((await look()).code).toBe(0);
  });

  /** Each with what takes it back: the look is as before then. */
  const hands: [string, string[][], string[][]][] = [
    [
      "a limit of an agent",
      [["config", "set", "iris", "limits.memory", "2GiB"]],
      [["config", "set", "iris", "limits.memory", "1GiB"]],
    ],
    [
      "a secret of an agent",
      [["config", "set", "iris", "environment.TOKEN", "other"]],
      [["config", "set", "iris", "environment.TOKEN", SECRET]],
    ],
    [
      "the mark of an agent",
      [["config", "set", "iris", "user.taos.owner", "x/y/z/iris"]],
      [["config", "set", "iris", "user.taos.owner", "taos-hosts/unchanged/board/iris"]],
    ],
    [
      "a device of an agent",
      [["config", "device", "add", "iris", "eth1", "none"]],
      [["config", "device", "remove", "iris", "eth1"]],
    ],
    [
      "a container that is not of the stack",
      [["config", "set", "mary", "user.note", "x"]],
      [["config", "unset", "mary", "user.note"]],
    ],
    ["a new container", [["init", "bb", "stranger"]], [["delete", "stranger"]]],
    [
      "a profile",
      [["profile", "set", "default", "user.note", "x"]],
      [["profile", "unset", "default", "user.note"]],
    ],
    [
      "a pool",
      [["storage", "set", "default", "user.note", "x"]],
      [["storage", "unset", "default", "user.note"]],
    ],
    [
      "a bridge",
      [["network", "set", "incusbr0", "user.note", "x"]],
      [["network", "unset", "incusbr0", "user.note"]],
    ],
    [
      "an image's alias",
      [["image", "alias", "rename", "bb", "cc"]],
      [["image", "alias", "rename", "cc", "bb"]],
    ],
    ["a project", [["project", "create", "side"]], [["project", "delete", "side"]]],
    ["a setting of the daemon", [["config", "set", "user.note", "x"]], [["config", "unset", "user.note"]]],
  ];

  test.each(hands)("a hand on the host is noticed: %s", async (_what, change, back) => {
    const before = await readFile(kept(), "utf8");
    for (const args of change) await d.incus(...(args as [string, ...string[]]));
    const seen = await look();
    for (const args of back) await d.incus(...(args as [string, ...string[]]));
    expect(seen).toEqual({ code: 3, text: "" });
    await writeFile(kept(), before);
    expect((await look()).code).toBe(0);
  });

  test("an agent that is gone is noticed, and Pulumi brings it back", async () => {
    await d.incus("delete", "--force", "iris");
    expect((await look()).code).toBe(3);
    expect(await up()).toEqual(["board/iris create"]);
    expect((await look()).code).toBe(3);
    expect(await up()).toEqual([]);
    expect((await look()).code).toBe(0);
  });

  test("another lease of an agent in a project and another encrypted value are noticed", async () => {
    const side = await createStack({
      name: "unchanged-side",
      hosts: {
        board: {
          connection: `unix:${d.socketPath}`,
          project: "side",
          images: ["bb"],
          agents: { rose: { image: "bb", config: { "user.note": "x" } } },
        },
      },
    });
    const features = ["-c", "features.images=false", "-c", "features.profiles=false"] as const;
    await d.incus("project", "create", "side", ...features);
    try {
      await runUp(side);
      expect(await lookAt(side)).toMatchObject({ code: 3 });
      expect(await runUp(side)).toEqual([]);
      expect(await lookAt(side)).toMatchObject({ code: 0 });
      const leases = join(d.dir, "networks/incusbr0/dnsmasq.leases");
      const text = await readFile(leases, "utf8");
      const other = text.replace(/(\d+\.\d+\.\d+)\.\d+ rose/, "$1.77 rose");
      expect(other).not.toBe(text);
      await writeFile(leases, other);
      expect(await lookAt(side)).toEqual({ code: 3, text: "" });
      await writeFile(leases, text);

      // An encrypted value is known to Pulumi alone; that it is another one, the file shows.
      await side.setSecret('board.agents.rose.config["user.note"]', "one");
      await runUp(side);
      expect(await lookAt(side)).toMatchObject({ code: 3 });
      expect(await runUp(side)).toEqual([]);
      expect(await lookAt(side)).toMatchObject({ code: 0 });
      await side.setSecret('board.agents.rose.config["user.note"]', "two");
      expect(await lookAt(side)).toEqual({ code: 3, text: "" });
      expect(await runUp(side)).toEqual(["board/rose update"]);
    } finally {
      await side.remove();
    }
  });

  test("another config, another state, a run under way or a failed one are noticed", async () => {
    // After what the test before has made on the host.
    expect((await look()).code).toBe(3);
    expect(await up()).toEqual([]);
    const before = await readFile(kept(), "utf8");
    const again = async (): Promise<void> => {
      await writeFile(kept(), before);
      expect((await look()).code).toBe(0);
    };
    const config = await readFile(stack.configFile, "utf8");
    await writeFile(stack.configFile, config.replace("1GiB", "2GiB"));
    expect((await look()).code).toBe(3);
    await writeFile(stack.configFile, config.replace(SECRET, "another-secret"));
    expect((await look()).code).toBe(3);
    await writeFile(stack.configFile, config);
    await again();

    const locks = join(stack.dir, "backend/.pulumi/locks/organization/taos-hosts/unchanged");
    await mkdir(locks, { recursive: true });
    await writeFile(join(locks, "one.json"), "{}");
    expect((await look()).code).toBe(3);
    await rm(join(locks, "one.json"));
    await again();

    const state = join(stack.dir, "backend/.pulumi/stacks/taos-hosts/unchanged.json");
    await cp(state, `${state}.kept`);
    await stack.pulumi(["state", "unprotect", "--all", "--yes", "--stack", stack.name]);
    expect((await look()).code).toBe(3);
    await cp(`${state}.kept`, state);
    await rm(`${state}.kept`);
    await again();

    await d.stop();
    const failed = await stack.up();
    await d.start();
    expect(failed.exitCode).not.toBe(0);
    await writeFile(kept(), before);
    expect((await look()).code).toBe(3);
  });
});
