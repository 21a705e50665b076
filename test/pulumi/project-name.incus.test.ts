import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { setUpHost } from "../testbed/host-setup.ts";
import { importImage } from "../testbed/images.ts";
import { copyCheckout } from "./checkout.ts";
import { pulumiPath } from "./cli.ts";
import { type CommandOptions, changesOf, errorsOf, TestStack } from "./stack.ts";

let d: IncusDaemon;
let home: string;
let stack: TestStack;
beforeAll(async () => {
  d = await startDaemon({ name: "project-name" });
  await setUpHost(d, { driver: "btrfs" });
  await importImage(d, "bb");
  home = await mkdtemp(join(tmpdir(), "taos-hosts-project-"));
  await copyCheckout(checkout());
  stack = new TestStack({ name: "here", hosts: {} }, home, await pulumiPath());
  await stack.setHosts({
    board: { connection: `unix:${d.socketPath}`, agents: { iris: { image: "bb", ready: "none" } } },
  });
});
afterAll(async () => {
  await rm(home, { recursive: true, force: true });
  await d?.remove();
});

const checkout = (): string => join(home, "checkout");
const inCheckout = (): CommandOptions => ({ through: ["env", "--chdir", checkout()] });

/** What a fork does by hand. */
async function callProject(name: string): Promise<void> {
  const file = join(checkout(), "Pulumi.yaml");
  await writeFile(file, (await readFile(file, "utf8")).replace(/^name: .*/m, `name: "${name}" # of our own`));
}

async function pulumi(...args: string[]): Promise<void> {
  await execa("pulumi", [...args, "--non-interactive"], {
    cwd: checkout(),
    env: stack.env,
    extendEnv: false,
  });
}

/** A command of the checkout, and its exit code. */
async function node(
  command: string,
  ...flags: string[]
): Promise<{ code: number | undefined; text: string }> {
  const args = [
    join(checkout(), "infra/commands", command),
    "--stack",
    "here",
    "--config-file",
    stack.configFile,
    ...flags,
  ];
  const { exitCode, all } = await execa(process.execPath, args, { env: stack.env, reject: false, all: true });
  return { code: exitCode, text: all };
}

const mark = (): Promise<string> => d.incus("config", "get", "iris", "user.taos.owner");

async function nameInShell(): Promise<string> {
  const source = '. "$1/script/common.sh"; project_name';
  return (await execa("bash", ["-c", source, "bash", checkout()])).stdout;
}

it("a project of another name does all under that name, and under the next one after a rename", {
  timeout: 240_000,
}, async () => {
  await callProject("orchard");
  expect(await nameInShell()).toBe("orchard");
  await execa("mkdir", [join(home, "backend")]);
  await pulumi("stack", "init", "here", "--no-select");
  const made = await stack.up(inCheckout());
  expect(errorsOf(made)).toBe("");
  expect((await mark()).trim()).toBe("orchard/here/board/iris");
  expect(await node("plan-command.ts")).toMatchObject({ code: 0 });

  await callProject("grove");
  expect((await node("plan-command.ts")).text).toMatch(
    /made by stack here of project orchard.*npm run rename/s,
  );
  const early = await node("rename-command.ts", "--from-project", "orchard", "--yes");
  expect(early).toMatchObject({ code: 1 });
  expect(early.text).toContain(
    'Stack "organization/orchard/here" still has resources, so what carries its mark is its own. Rename it: pulumi stack rename organization/grove/here --stack organization/orchard/here',
  );
  await pulumi("stack", "rename", "organization/grove/here", "--stack", "organization/orchard/here");
  const { text, code } = await node("rename-command.ts", "--from-project", "orchard", "--yes");
  expect(code, text).toBe(0);
  expect((await mark()).trim()).toBe("grove/here/board/iris");
  expect(await node("plan-command.ts")).toMatchObject({ code: 0 });
  const after = await stack.up(inCheckout());
  expect(errorsOf(after)).toBe("");
  expect(changesOf(after)).toEqual([]);
});
