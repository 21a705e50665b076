import { readFileSync, readlinkSync } from "node:fs";

/** Identifies one process for good, and tells whether another one of the same machine still lives. */
export interface ProcessIdentity {
  /** This boot of this machine and process namespace; a pid means nothing outside it. */
  machine: string;
  pid: number;
  /** Start time in clock ticks since boot: a pid that was given out again is another process. */
  started: string;
}

export function ownIdentity(): ProcessIdentity {
  return { machine: machineIdentity(), pid: process.pid, started: startOf(process.pid) ?? "" };
}

/** True, false, or undefined where the process is of another machine and nothing can be said. */
export function isAlive(identity: ProcessIdentity): boolean | undefined {
  if (identity.machine !== machineIdentity()) return undefined;
  return startOf(identity.pid) === identity.started;
}

function machineIdentity(): string {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return `${boot}/${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    // No /proc: nothing that another process could be compared with.
    return `unknown/${process.pid}/${process.hrtime.bigint()}`;
  }
}

function startOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
