import { readFileSync, readlinkSync } from "node:fs";
import { join, resolve } from "node:path";

/**
 * The stack file that this run of Pulumi takes its config from, by the first that says so: the environment
 * (`TAOS_HOSTS_CONFIG_FILE`, set by `npm run up`, which hands Pulumi a copy), the `--config-file` of the Pulumi that
 * runs this program, Pulumi's own rule with the `stackConfigDir` of Pulumi.yaml. Relative ones count from the
 * project's root.
 */
export function stackFile(stack: string): string {
  return process.env["TAOS_HOSTS_CONFIG_FILE"] || configFileFlag() || join("stacks", `Pulumi.${stack}.yaml`);
}

/** Pulumi tells no program of this flag, so it is read off the command that started the language host. */
function configFileFlag(): string | undefined {
  for (let pid = process.ppid; pid > 1; pid = parentOf(pid)) {
    const found = flagOf(pid);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The flag of a process that is Pulumi, as an absolute path; undefined where it cannot be told. */
function flagOf(pid: number): string | undefined {
  try {
    const args = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    if (!/(^|\/)pulumi$/.test(args[0] ?? "")) return undefined;
    const at = args.findLastIndex((arg) => /^--config-file(=|$)/.test(arg));
    const value = args[at]?.split("=").slice(1).join("=") || args[at + 1];
    return at < 0 || !value ? undefined : resolve(readlinkSync(`/proc/${pid}/cwd`), value);
  } catch {
    return undefined;
  }
}

/** 0 where it cannot be told: other systems have no /proc. */
function parentOf(pid: number): number {
  try {
    return Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
