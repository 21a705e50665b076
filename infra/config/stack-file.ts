import { existsSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { VisibleError } from "@taos-hosts/providers";
import { type PulumiProcess, pulumiProcess, startTicks } from "./pulumi-process.ts";

/** Where the stack file is. */
export interface StackFile {
  /** Relative ones count from the project's root. */
  file: string;
  /**
   * Pulumi has written it since it was started: it adds its salt to a file that has none, and writes all unquoted
   * values anew as it has read them.
   */
  isRewritten: boolean;
  /** Nothing names it, and the usual one is not there. */
  isUnknown: boolean;
}

/**
 * The stack file that this run of Pulumi takes its config from, by the first that says so: the environment
 * (`TAOS_HOSTS_CONFIG_FILE`, set by `npm run up`, which hands Pulumi a copy), the `--config-file` of the Pulumi that
 * runs this program, Pulumi's own rule with the `stackConfigDir` of Pulumi.yaml.
 */
export function findStackFile(stack: string, root: string): StackFile {
  const named = process.env["TAOS_HOSTS_CONFIG_FILE"];
  if (named) return { file: named, isRewritten: false, isUnknown: false };
  const pulumi = pulumiProcess();
  const flag = configFileFlag(pulumi);
  const file = flag ?? join("stacks", `Pulumi.${stack}.yaml`);
  const isUnknown = flag === undefined && !existsSync(resolve(root, file));
  return {
    file,
    isUnknown,
    isRewritten: pulumi !== undefined && isNewerThan(pulumi.pid, resolve(root, file)),
  };
}

/**
 * The stack file that a command of `npm run` is about.
 * @param given path of another file; undefined for `stacks/Pulumi.STACK.yaml` of the project
 * @throws VisibleError where the stack's name is none
 */
export function stackFile(stack: string, given: string | undefined): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(stack)) throw new VisibleError("--stack must be a stack's name.");
  return given === undefined ? join("stacks", `Pulumi.${stack}.yaml`) : resolve(given);
}

/** The flag's value as an absolute path; Pulumi tells no program of it, so it is read off the command. */
function configFileFlag(pulumi: PulumiProcess | undefined): string | undefined {
  if (!pulumi) return undefined;
  const { pid, args } = pulumi;
  const at = args.findLastIndex((arg) => /^--config-file(=|$)/.test(arg));
  const value = args[at]?.split("=").slice(1).join("=") || args[at + 1];
  return at < 0 || !value ? undefined : resolve(readlinkSync(`/proc/${pid}/cwd`), value);
}

/** Clock ticks of proc_pid_stat(5) in a second, the same on every Linux. */
const TICKS = 100;

function isNewerThan(pid: number, file: string): boolean {
  const written = statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const uptime = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
  const started = Date.now() - (uptime - Number(startTicks(pid)) / TICKS) * 1_000;
  return written > started;
}
