import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Plan } from "../../../infra/plan/plan.ts";
import { projectRoot } from "../../pulumi/cli.ts";
import { changesOf, createStack, errorsOf, type TestStack } from "../../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { setUpHost } from "../../testbed/host-setup.ts";
import { importImage } from "../../testbed/images.ts";

const SECRET = "calm-1618";

let d: IncusDaemon;
let stack: TestStack;

beforeAll(async () => {
  d = await startDaemon({ name: "plan-agents" });
  await setUpHost(d, { driver: "btrfs" });
  await importImage(d, "bb");
  stack = await createStack({ name: "plan-agents", hosts: {} });
});
afterAll(async () => {
  await stack?.remove();
  await d?.remove();
});

/** Exit code of `npm run plan` and what it has to do to the agent, in the table's and the actions' words. */
async function plan(): Promise<{ exitCode: number | undefined; row: string | null; actions: string[] }> {
  const command = join(projectRoot, "infra/commands/plan-command.ts");
  const flags = ["--config-file", stack.configFile, "--stack", stack.name, "--format", "json"];
  const { exitCode, stdout } = await execa("node", [command, ...flags], {
    ...{ reject: false, stdin: "ignore", timeout: 60_000 },
  });
  expect(stdout).not.toContain(SECRET);
  const [host] = (JSON.parse(stdout) as Plan).hosts;
  const row = host?.containers.find(({ name }) => name === "iris")?.action ?? null;
  return { exitCode, row, actions: (host?.actions ?? []).map(({ kind, reason }) => `${kind}: ${reason}`) };
}

/** Sets the agent's entry; undefined takes it out. */
async function configure(agent: object | undefined): Promise<void> {
  const host = {
    connection: `unix:${d.socketPath}`,
    images: ["bb"],
    agents: agent === undefined ? {} : { iris: agent },
  };
  await stack.setHosts({ board: host });
}

async function up(): Promise<string[]> {
  const result = await stack.up();
  expect(errorsOf(result)).toBe("");
  expect(result.exitCode).toBe(0);
  return changesOf(result);
}

describe("an agent whose entry changes", () => {
  const file = { path: "/etc/agent.conf", content: `mood=${SECRET}\n`, mode: "0644" };
  const first = {
    ...{ image: "bb", protected: false, memory: "128MiB", cpu: 1, files: [file] },
    environment: { MOOD: "bright", TOKEN: SECRET },
  };

  it("shows in table, actions and exit code of the plan exactly where up changes it", {
    timeout: 300_000,
  }, async () => {
    await configure(first);
    expect((await plan()).exitCode).toBe(2);
    await up();
    expect(await plan()).toEqual({ exitCode: 0, row: null, actions: [] });

    const changed = {
      ...{ ...first, memory: "192MiB", files: [{ ...file, mode: "0600" }] },
      environment: { MOOD: "dark", TOKEN: SECRET },
    };
    await configure(changed);
    expect(await plan()).toEqual({
      exitCode: 2,
      row: "is changed in place",
      actions: [
        "update-agent: changed in place: limits.memory is 128MiB, not 192MiB; environment.MOOD differs; file /etc/agent.conf",
      ],
    });
    expect(await up()).toEqual(["board/iris update"]);
    expect(await d.incus("config", "get", "iris", "limits.memory")).toBe("192MiB");
    expect(await d.incus("exec", "iris", "--", "stat", "-c", "%a", file.path)).toBe("600");
    expect((await plan()).exitCode).toBe(0);

    // How long it is waited for a new one says nothing of the one that is there.
    const { cpu: _cpu, ...withoutCpu } = changed;
    await configure({ ...withoutCpu, environment: { TOKEN: SECRET }, ready: "none" });
    expect((await plan()).actions).toEqual([
      "update-agent: changed in place: environment.MOOD is taken out; limits.cpu is taken out",
    ]);
    expect(await up()).toEqual(["board/iris update"]);
    expect(await d.incus("config", "get", "iris", "limits.cpu")).toBe("");
    await configure({ ...withoutCpu, environment: { TOKEN: SECRET }, ready: "network" });
    expect((await plan()).exitCode).toBe(0);
    expect(await up()).toEqual([]);
  });

  it("shows a change by hand, too, and its deletion", { timeout: 200_000 }, async () => {
    await d.incus("config", "set", "iris", "limits.memory=64MiB");
    expect((await plan()).actions).toEqual([
      "update-agent: changed in place: limits.memory is 64MiB, not 192MiB",
    ]);
    expect(await up()).toEqual(["board/iris update"]);
    await configure(undefined);
    expect(await plan()).toMatchObject({ exitCode: 2, row: "is deleted" });
    expect(await up()).toEqual(["board/iris delete"]);
    expect((await plan()).exitCode).toBe(0);
  });
});
