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

/**
 * The same for the preview and the update of one `up`, and for nothing else: what `npm run` gave it, else the Pulumi
 * process itself. Letters, digits and dashes; undefined where it cannot be told.
 */
export function runId(): string | undefined {
  const given = process.env["TAOS_HOSTS_RUN_ID"];
  if (given !== undefined) return /^[A-Za-z0-9-]{1,64}$/.test(given) ? given : undefined;
  const pulumi = pulumiProcess();
  if (!pulumi) return undefined;
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").slice(0, 8);
    return `${boot}-${pulumi.pid}-${startTicks(pulumi.pid)}`;
  } catch {
    // It ended in between, or this system hides it.
    return undefined;
  }
}

/** When a process was started, in clock ticks since the boot. */
export function startTicks(pid: number): string {
  // Behind the command's name, the second field, which may hold anything: the 22nd field.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ");
  return fields?.[19] ?? "";
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
