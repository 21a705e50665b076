import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { stringify } from "yaml";
import { projectRoot, pulumiPath } from "./cli.ts";
import { type EventLog, readEventLog } from "./event-log.ts";
import { disagreements } from "./plan-agreement.ts";
import { type PulumiRun, startRun } from "./run.ts";

/** Value of `taos-hosts:hosts`: hosts by name, as a stack config holds them. */
export type HostsConfig = Record<string, Record<string, unknown>>;

export type StackOptions = {
  /** Name of the stack; part of the ownership marks. */
  name: string;
  /** What the stack's config says. `setHosts` changes it later. */
  hosts: HostsConfig;
  /** Whether each `up` and `preview` fails where the plan that it reports and its steps contradict each other. @default true */
  comparesPlan?: boolean;
  /** Further environment of the CLI and, with it, of program and provider. */
  env?: Record<string, string>;
};

/** What one command of the CLI came to. */
export type RunResult = EventLog & {
  exitCode: number | undefined;
  /** Everything it printed. */
  output: string;
};

export type CommandOptions = {
  /** Longest run in milliseconds. @default 120_000 */
  timeoutMs?: number;
  /** Flags besides those that every command gets. */
  flags?: string[];
  /** Overrides the stack's `comparesPlan` for this command. */
  comparesPlan?: boolean;
  /** Whether `up` shows its preview first, as people run it. @default false */
  withPreview?: boolean;
  env?: Record<string, string>;
  /** A command that runs the CLI, such as `setpriv` with its arguments. */
  through?: string[];
};

/** `name op` of each resource's step, sorted: what a test compares. */
export function opsOf(result: EventLog): string[] {
  return result.steps.map(({ name, op, failed }) => `${name} ${failed ? "failed " : ""}${op}`).sort();
}

/** As `opsOf`, without what stays as it is. */
export function changesOf(result: EventLog): string[] {
  return opsOf(result).filter((op) => !/ (same|refresh|read)$/.test(op));
}

/** Messages of severity `error`, as a person sees them. */
export function errorsOf(result: EventLog): string {
  return result.diagnostics
    .filter(({ severity }) => severity === "error")
    .map(({ message }) => message)
    .join("\n");
}

/** @throws Error where the plan that a run reported and the steps of that run contradict each other */
function expectAgreement(command: string, result: RunResult): void {
  const found = disagreements(result);
  if (found.length > 0)
    throw new Error(`Plan and ${command} do not agree: ${found.join("\n")}\n${result.output}`);
}

/** Makes a stack of this project in a directory of its own: state, passphrase, config. Nothing tracked is written. */
export async function createStack(options: StackOptions): Promise<TestStack> {
  const dir = await mkdtemp(join(tmpdir(), `taos-hosts-${options.name}-`));
  const stack = new TestStack(options, dir, await pulumiPath());
  await stack.setHosts(options.hosts);
  await stack.initialize();
  return stack;
}

/** A stack driven by the real CLI. */
export class TestStack {
  readonly name: string;
  /** Directory of everything the stack leaves. */
  readonly dir: string;
  readonly configFile: string;
  readonly #env: Record<string, string>;
  readonly #comparesPlan: boolean;
  #runs = 0;

  constructor({ name, env = {}, comparesPlan = true }: StackOptions, dir: string, path: string) {
    this.name = name;
    this.#comparesPlan = comparesPlan;
    this.dir = dir;
    this.configFile = join(dir, `Pulumi.${name}.yaml`);
    this.#env = {
      PATH: path,
      HOME: process.env["HOME"] ?? "/root",
      LANG: "C.UTF-8",
      PULUMI_BACKEND_URL: `file://${join(dir, "backend")}`,
      PULUMI_CONFIG_PASSPHRASE: "a test's passphrase",
      PULUMI_SKIP_UPDATE_CHECK: "true",
      PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
      PULUMI_CONTINUE_ON_ERROR: "true",
      PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER: "true",
      // Brings the flag --event-log.
      PULUMI_DEBUG_COMMANDS: "true",
      XDG_CACHE_HOME: join(dir, "cache"),
      NODE_COMPILE_CACHE: join(projectRoot, ".state/compile-cache"),
      NODE_OPTIONS: `--require=${join(projectRoot, "script/lazy-sdk.cjs")}`,
      ...(process.env["PULUMI_HOME"] === undefined ? {} : { PULUMI_HOME: process.env["PULUMI_HOME"] }),
      ...env,
    };
  }

  /** Environment of every command: another program that drives this stack needs it, too. */
  get env(): Record<string, string> {
    return { ...this.#env };
  }

  /** `stack init`, from a folder of its own, so that it writes no tracked config. */
  async initialize(): Promise<void> {
    await mkdir(join(this.dir, "backend"));
    const init = join(this.dir, "init");
    await mkdir(init);
    await writeFile(join(init, "Pulumi.yaml"), "name: taos-hosts\nruntime: nodejs\n");
    await this.pulumi(["stack", "init", this.name, "--no-select", "--cwd", init]);
  }

  /** Writes the stack config anew; encrypted values are gone then. */
  async setHosts(hosts: HostsConfig): Promise<void> {
    await writeFile(this.configFile, stringify({ config: { "taos-hosts:hosts": hosts } }));
  }

  /** `pulumi config set --secret --path` below `taos-hosts:hosts`; the value goes by standard input, as it should. */
  async setSecret(path: string, value: string): Promise<void> {
    const args = ["config", "set", "--secret", "--path", `taos-hosts:hosts.${path}`];
    await this.pulumi([...args, "--stack", this.name, "--config-file", this.configFile], { input: value });
  }

  /** `pulumi up --yes`. */
  up(options: CommandOptions = {}): Promise<RunResult> {
    const skip = options.withPreview === true ? [] : ["--skip-preview"];
    return this.#operate("up", { ...options, flags: ["--yes", ...skip, ...(options.flags ?? [])] });
  }

  /** `pulumi preview --diff`: its output shows values, where a secret would show. */
  preview(options: CommandOptions = {}): Promise<RunResult> {
    return this.#operate("preview", { ...options, flags: ["--diff", ...(options.flags ?? [])] });
  }

  /** `pulumi refresh --yes`. */
  refresh(options: CommandOptions = {}): Promise<RunResult> {
    const flags = options.flags ?? [];
    const sure = flags.includes("--preview-only") ? [] : ["--yes", "--skip-preview"];
    return this.#operate("refresh", { ...options, flags: [...sure, ...flags] });
  }

  /** `pulumi destroy --yes`. */
  destroy(options: CommandOptions = {}): Promise<RunResult> {
    return this.#operate("destroy", {
      ...options,
      flags: ["--yes", "--skip-preview", ...(options.flags ?? [])],
    });
  }

  /** Starts `pulumi up --yes` without waiting for it, to be killed midway. */
  startUp(options: CommandOptions = {}): PulumiRun {
    return this.#start("up", { ...options, flags: ["--yes", "--skip-preview", ...(options.flags ?? [])] })
      .run;
  }

  /** Releases the lock of a killed run, as script/stack does. */
  async cancel(): Promise<void> {
    const source = '. "$1/script/steps/state.sh"; state_dir=$2; drop_torn_attributes';
    await execa("bash", ["-c", source, "bash", projectRoot, this.dir]);
    await this.pulumi(["cancel", "--yes", "--stack", this.name]);
  }

  /** The state file as it lies on disk: what must hold no secret in clear. */
  stateText(): Promise<string> {
    return readFile(join(this.dir, "backend/.pulumi/stacks/taos-hosts", `${this.name}.json`), "utf8");
  }

  /** Names of the resources in the state, with their type; duplicates show. */
  async resources(): Promise<string[]> {
    const state = JSON.parse(await this.stateText()) as {
      checkpoint: { latest?: { resources?: { urn: string; type: string }[] } };
    };
    return (state.checkpoint.latest?.resources ?? [])
      .filter(({ type }) => type.startsWith("pulumi-nodejs:dynamic/"))
      .map(({ urn, type }) => `${type.split(":").at(-1)} ${urn.split("::").at(-1)}`)
      .sort();
  }

  /** Stack outputs. */
  async outputs<T = Record<string, unknown>>(): Promise<T> {
    return JSON.parse(await this.pulumi(["stack", "output", "--json", "--stack", this.name])) as T;
  }

  /** Lifts Pulumi's own protection of everything, which `destroy` of protected agents asks for. */
  async unprotect(): Promise<void> {
    await this.pulumi(["state", "unprotect", "--all", "--yes", "--stack", this.name]);
  }

  /** Runs any command of the CLI and returns what it printed. @throws ExecaError */
  async pulumi(args: string[], { input = "" }: { input?: string } = {}): Promise<string> {
    const { stdout } = await execa("pulumi", [...args, "--non-interactive"], {
      cwd: projectRoot,
      env: this.#env,
      extendEnv: false,
      input,
      timeout: 60_000,
    });
    return stdout;
  }

  /** Removes everything the stack left on disk; not what it made on a host. */
  async remove(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }

  #start(command: string, { timeoutMs = 120_000, flags = [], env = {}, through = [] }: CommandOptions) {
    const eventLog = join(this.dir, `events-${++this.#runs}-${command}.jsonl`);
    const args = [
      ...[...through, "pulumi", command],
      ...["--stack", this.name, "--config-file", this.configFile, "--event-log", eventLog],
      ...["--non-interactive", "--color=never", ...flags],
    ];
    return { run: startRun(args, { ...this.#env, ...env }, timeoutMs), eventLog };
  }

  async #operate(command: string, options: CommandOptions): Promise<RunResult> {
    const { run, eventLog } = this.#start(command, options);
    const { exitCode, output } = await run.result;
    const result = { ...(await readEventLog(eventLog)), exitCode, output };
    const compares = options.comparesPlan ?? this.#comparesPlan;
    if (compares && (command === "up" || command === "preview")) expectAgreement(command, result);
    return result;
  }
}
