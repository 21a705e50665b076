import { execa } from "execa";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { setUpHost } from "../testbed/host-setup.ts";
import { projectRoot } from "./cli.ts";
import { createStack, type TestStack } from "./stack.ts";

let d: IncusDaemon;
let stack: TestStack;
beforeAll(async () => {
  d = await startDaemon({ name: "plain-up" });
  await setUpHost(d, { driver: "btrfs" });
  stack = await createStack({ name: "plain", hosts: { board: { connection: `unix:${d.socketPath}` } } });
});
afterAll(async () => {
  await stack?.remove();
  await d?.remove();
});

it("pulumi up by hand, preview and update, tells the report once", { timeout: 120_000 }, async () => {
  expect(stack.env).not.toHaveProperty("TAOS_HOSTS_RUN_ID");
  const args = ["up", "--yes", "--stack", stack.name, "--config-file", stack.configFile, "--non-interactive"];
  const { all, exitCode } = await execa("pulumi", args, {
    ...{ cwd: projectRoot, env: stack.env, extendEnv: false, all: true, reject: false },
  });
  expect(exitCode, all).toBe(0);
  expect(all).toContain("Updating (plain)");
  expect(all.match(/launches go to pool default/g), all).toHaveLength(1);
});
