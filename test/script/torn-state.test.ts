import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, expect, it } from "vitest";
import { projectRoot, pulumiPath } from "../pulumi/cli.ts";

let directory: string;
let stateFile: string;

async function pulumi(...args: string[]): Promise<{ exitCode: number | undefined; output: string }> {
  const { exitCode, all } = await execa(
    "pulumi",
    [...args, "--non-interactive", "-C", join(directory, "project")],
    {
      all: true,
      reject: false,
      env: {
        PATH: await pulumiPath(),
        PULUMI_BACKEND_URL: `file://${directory}/backend`,
        PULUMI_CONFIG_PASSPHRASE: "torn",
        PULUMI_SKIP_UPDATE_CHECK: "true",
      },
    },
  );
  return { exitCode, output: all };
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "torn-state-"));
  stateFile = join(directory, "backend/.pulumi/stacks/taos-hosts/torn.json");
  await mkdir(join(directory, "project"));
  await mkdir(join(directory, "backend"));
  await writeFile(join(directory, "project/Pulumi.yaml"), "name: taos-hosts\nruntime: nodejs\n");
  expect((await pulumi("stack", "init", "torn")).output).toContain("Created stack");
});
afterEach(() => rm(directory, { recursive: true }));

it("reads a stack again whose run was killed while Pulumi wrote the attributes of its state", async () => {
  const before = await readFile(stateFile, "utf8");
  await truncate(`${stateFile}.attrs`);
  expect((await pulumi("stack", "export", "--stack", "torn")).output).toContain("EOF");

  const source = '. "$1/script/steps/state.sh"; state_dir=$2; drop_torn_attributes';
  await execa("bash", ["-c", source, "bash", projectRoot, directory]);

  expect((await pulumi("stack", "export", "--stack", "torn")).exitCode).toBe(0);
  expect(await readFile(stateFile, "utf8")).toBe(before);
});
