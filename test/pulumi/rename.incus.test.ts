import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parseHosts } from "../../infra/config/config.ts";
import { gatherFacts } from "../../infra/facts/facts.ts";
import { planErrors, planHosts } from "../../infra/plan/plan.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { setUpHost } from "../testbed/host-setup.ts";
import { importImage } from "../testbed/images.ts";
import { projectRoot, pulumiPath } from "./cli.ts";
import { changesOf, createStack, errorsOf, TestStack } from "./stack.ts";

let d: IncusDaemon;
let old: TestStack;
let stack: TestStack;
beforeAll(async () => {
  d = await startDaemon({ name: "rename" });
  await setUpHost(d, { driver: "btrfs" });
  await importImage(d, "bb");
  old = await createStack({ name: "before", hosts: hosts("orange") });
  expect(errorsOf(await old.up())).toBe("");
});
afterAll(async () => {
  await old?.remove();
  await d?.remove();
});

function hosts(name: string) {
  return { [name]: { connection: `unix:${d.socketPath}`, agents: { iris: { image: "bb", ready: "none" } } } };
}

const marks = async (): Promise<string> => {
  const instances = await d.query<{ config: Record<string, string> }[]>("/1.0/instances?recursion=1");
  return instances.map(({ config }) => config["user.taos.owner"]).join(" ");
};

async function rename(
  ...given: (string | Record<string, string>)[]
): Promise<{ exitCode?: number | undefined; all: string }> {
  const flags = given.filter((one) => typeof one === "string");
  const env = Object.assign({}, stack.env, ...given.filter((one) => typeof one !== "string"));
  const command = join(projectRoot, "infra/commands/rename-command.ts");
  const args = [command, "--stack", "after", "--config-file", stack.configFile, ...flags];
  return execa(process.execPath, args, { env, reject: false, all: true, stdin: "ignore" });
}

async function planErrorsOf(config: ReturnType<typeof hosts>): Promise<string> {
  const parsed = parseHosts(config);
  const context = { project: "taos-hosts", stack: "after" };
  return planErrors(planHosts(parsed, await gatherFacts(parsed), context)).join("\n");
}

it("a stack and a host under another name find their own again by one command", {
  timeout: 240_000,
}, async () => {
  const { pid } = await d.query<{ pid: number }>("/1.0/instances/iris/state");
  stack = new TestStack({ name: "after", hosts: {} }, old.dir, await pulumiPath());
  await stack.setHosts(hosts("plum"));

  // While the stack has not been renamed its marks are its own.
  const early = await rename("--from-stack", "before", "--host", "orange=plum");
  expect(early.all).toMatch(/Stack "before" still has resources.*pulumi stack rename after --stack before/);

  // A backend that does not answer proves nothing.
  const unanswered = await rename("--from-stack", "before", "--host", "orange=plum", "--yes", {
    PULUMI_BACKEND_URL: `file://${old.dir}/nowhere`,
  });
  expect(unanswered.exitCode).toBe(1);
  expect(unanswered.all).toMatch(/pulumi stack ls --all --json failed: .*nowhere/);
  expect(await marks()).toBe("taos-hosts/before/orange/iris");

  await old.pulumi(["stack", "rename", "after", "--stack", "before"]);
  expect(await planErrorsOf(hosts("plum"))).toMatch(
    /made by stack before.*called orange there.*npm run rename/,
  );

  const dry = await rename("--from-stack", "before", "--host", "orange=plum");
  expect(dry.exitCode).toBe(2);
  expect(dry.all).toContain(
    "would change plum: instance iris: taos-hosts/before/orange/… → taos-hosts/after/plum/…",
  );
  expect(await marks()).toBe("taos-hosts/before/orange/iris");

  // As a run leaves it that was killed between the hosts and the state.
  await d.incus("config", "set", "iris", "user.taos.owner=taos-hosts/after/plum/iris");
  const done = await rename("--from-stack", "before", "--host", "orange=plum", "--yes");
  expect(done.exitCode, done.all).toBe(0);
  expect(await marks()).toBe("taos-hosts/after/plum/iris");
  expect((await rename("--from-stack", "before", "--host", "orange=plum", "--yes")).all).toContain(
    "Nothing carries the old name",
  );

  expect(await planErrorsOf(hosts("plum"))).toBe("");
  const up = await stack.up();
  expect(errorsOf(up)).toBe("");
  expect(changesOf(up)).toEqual([]);
  expect((await d.query<{ pid: number }>("/1.0/instances/iris/state")).pid).toBe(pid);
});

it("takes nothing over from a living stack of another project", { timeout: 60_000 }, async () => {
  const other = join(old.dir, "other");
  await mkdir(other);
  await writeFile(join(other, "Pulumi.yaml"), "name: orchard\nruntime: nodejs\n");
  await stack.pulumi(["stack", "init", "after", "--no-select", "--cwd", other]);
  const empty = await rename("--from-project", "orchard");
  expect(empty.all).toContain("Nothing carries the old name");

  const resource = { urn: "urn:pulumi:after::orchard::pulumi:pulumi:Stack::orchard-after", custom: false };
  const state = JSON.parse(await stack.pulumi(["stack", "export", "--stack", "after", "--cwd", other]));
  state.deployment.resources = [{ ...resource, type: "pulumi:pulumi:Stack" }];
  const input = JSON.stringify(state);
  await stack.pulumi(["stack", "import", "--stack", "after", "--cwd", other], { input });
  await d.incus("config", "set", "iris", "user.taos.owner=orchard/after/plum/iris");
  const living = await rename("--from-project", "orchard", "--yes");
  expect(living.exitCode).toBe(1);
  expect(living.all).toContain(
    'Stack "organization/orchard/after" still has resources, so what carries its mark is its own. Rename it: pulumi stack rename organization/taos-hosts/after --stack organization/orchard/after',
  );
  expect(await marks()).toBe("orchard/after/plum/iris");
});

it("refuses names that it cannot take", async () => {
  expect((await rename()).all).toContain("Say what was called otherwise before");
  expect((await rename("--host", "a=b=c")).all).toContain("write --host OLD=NEW");
  expect((await rename("--host", "orange=pear")).all).toContain('the config has no host "pear"');
  expect((await rename("--host", "plum=plum")).all).toContain('still has a host "plum"');
});
