import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { execa } from "execa";
import { stringify } from "yaml";
import type { FleetOutput } from "../../infra/fleet/output.ts";
import { projectRoot, pulumiPath } from "../pulumi/cli.ts";

const manifest = JSON.parse(await readFile(join(projectRoot, "package.json"), "utf8")) as {
  dependencies: Record<string, string>;
};

/** A fleet file with a backend of its own, driven by script/fleet; every start of the Pulumi CLI is noted. */
export class TestFleet {
  readonly dir: string;
  file: string;
  readonly env: Record<string, string>;

  private constructor(dir: string, path: string) {
    this.dir = dir;
    this.file = join(dir, "fleet.yaml");
    this.env = {
      PATH: path,
      HOME: homedir(),
      LANG: "C.UTF-8",
      PULUMI_HOME: join(dir, "pulumi"),
      PULUMI_BACKEND_URL: `file://${join(dir, "backend")}`,
      PULUMI_CONFIG_PASSPHRASE: "a test's passphrase",
      NODE_COMPILE_CACHE: join(projectRoot, ".state/compile-cache"),
    };
  }

  static async create(name: string): Promise<TestFleet> {
    const dir = await mkdtemp(join(tmpdir(), `taos-hosts-${name}-`));
    const path = await pulumiPath();
    await mkdir(join(dir, "backend"));
    // The CLI that script/stack finds notes how it was called and is the real one then.
    const real = path.split(":").find((folder) => folder.includes("/versions/")) ?? "";
    const bin = join(dir, "pulumi/versions", manifest.dependencies["@pulumi/pulumi"] ?? "", "bin");
    await mkdir(bin, { recursive: true });
    for (const entry of await readdir(real))
      if (entry !== "pulumi") await symlink(join(real, entry), join(bin, entry));
    const wrapper = `#!/bin/sh\necho "$*" >>'${join(dir, "calls")}'\nexec '${join(real, "pulumi")}' "$@"\n`;
    await writeFile(join(bin, "pulumi"), wrapper);
    await chmod(join(bin, "pulumi"), 0o755);
    // The others of the path lead to no other CLI.
    const rest = path.split(":").filter((folder) => folder !== real);
    return new TestFleet(dir, [dirname(process.execPath), ...rest].join(":"));
  }

  async write(fleet: object): Promise<void> {
    await writeFile(this.file, stringify(fleet));
  }

  /** How the CLI was called since the last time this was asked. */
  async calls(): Promise<string[]> {
    const text = await readFile(join(this.dir, "calls"), "utf8").catch(() => "");
    await rm(join(this.dir, "calls"), { force: true });
    return text.split("\n").filter((line) => line !== "");
  }

  /** Starts script/fleet without waiting for it. @param root of the checkout */
  start(args: string[], root = projectRoot) {
    return execa(join(root, "script/fleet"), [...args, "--file", this.file], {
      ...{ cwd: root, env: this.env, extendEnv: false, stdin: "ignore", timeout: 280_000 },
      ...{ all: true, reject: false },
    });
  }

  /** Runs a command and reads its JSON. */
  async run(
    args: string[],
    root = projectRoot,
  ): Promise<{ code: number | undefined; output: FleetOutput; told: string }> {
    const { exitCode, stdout, stderr, all } = await this.start([...args, "--json"], root);
    if (!stdout.startsWith("{")) throw new Error(`fleet ${args.join(" ")} gave no JSON:\n${all}`);
    return { code: exitCode, output: JSON.parse(stdout) as FleetOutput, told: stderr };
  }

  /** `pulumi` by hand, not noted. */
  async pulumi(args: string[], input = ""): Promise<void> {
    const env = { ...this.env, PATH: await pulumiPath() };
    await execa("pulumi", [...args, "--non-interactive"], { cwd: projectRoot, env, extendEnv: false, input });
  }

  /** Ids of the processes that hold a stack's locks. */
  async lockPids(stack: string): Promise<number[]> {
    const folder = join(this.dir, "backend/.pulumi/locks/organization/taos-hosts", stack);
    const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(".json"));
    const texts = await Promise.all(names.map((name) => readFile(join(folder, name), "utf8")));
    return texts.map((text) => (JSON.parse(text) as { pid: number }).pid);
  }

  async remove(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }
}

/** `host outcome` of each host. */
export function outcomes({ hosts }: FleetOutput): string[] {
  return hosts.map(({ host, outcome }) => `${host} ${outcome}`);
}
