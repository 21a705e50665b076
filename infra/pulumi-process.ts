import { readFileSync } from "node:fs";

/** The command that this program runs under. */
export interface PulumiProcess {
  pid: number;
  args: string[];
}

/** The Pulumi that started the language host; undefined where it cannot be told: other systems have no /proc. */
export function pulumiProcess(): PulumiProcess | undefined {
  try {
    for (let pid = process.ppid; pid > 1; pid = parentOf(pid)) {
      const args = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      if (/(^|\/)pulumi$/.test(args[0] ?? "")) return { pid, args };
    }
  } catch {
    // As said above.
  }
  return undefined;
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
}

/**
 * Whether this is a `preview` of its own and not the first half of an `up`, which must go on to the other hosts where
 * one has failed.
 */
export function isPreviewAlone(): boolean {
  return pulumiProcess()?.args.includes("preview") ?? false;
}
