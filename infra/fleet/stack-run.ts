import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, open, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { PROJECT_ROOT } from "../config/project.ts";

/** Where configs and output of runs are: readable by their owner only, ignored by git. */
const FOLDER = join(PROJECT_ROOT, ".state/fleet");

/** Longest run of Pulumi for one host in ms. Its parts have deadlines of their own; migrations may take hours. */
const LONGEST_RUN = 24 * 3_600_000;
/** Ms for Pulumi to end by itself after the second signal. */
const LAST_WORDS = 5_000;
/** Bytes at the end of the output that are looked through for what went wrong. */
const LAST_BYTES = 64 * 1024;

/** Signals of the person: `stop` lets what runs end in an orderly way, `kill` ends it at once. */
export interface Signals {
  stop: AbortSignal;
  kill: AbortSignal;
}

export interface StackRun {
  /** Null where a signal ended it. */
  exitCode: number | null;
  /** Its last lines. */
  lines: string[];
  /** File with all of them. */
  log: string;
}

/**
 * Runs `script/stack` for one host, as `npm run` does, with the host's config in a file of its own that is gone
 * afterwards. Pulumi gets one SIGINT for `stop`: it finishes the steps under way and saves its state.
 * @param onLine gets the last line of output from time to time
 */
export async function runStack(
  command: "up" | "preview",
  { name, text }: { name: string; text: string },
  { stop, kill }: Signals,
  onLine: (line: string) => void,
): Promise<StackRun> {
  await mkdir(FOLDER, { recursive: true, mode: 0o700 });
  // Another command may try for the same host while it is locked, and must not take the run's files away.
  const own = join(FOLDER, `${name}.${process.pid}`);
  const config = `${own}.yaml`;
  await writeFile(config, text, { mode: 0o600 });
  const log = join(FOLDER, `${name}.log`);
  const file = await open(`${own}.log`, "w", 0o600);
  const args = [
    ...[command, "--stack", name, "--config-file", config],
    ...["--yes", "--non-interactive", "--color=never"],
    ...(command === "up" ? [] : ["--expect-no-changes"]),
  ];
  // It writes into the file by itself: a pipe would end Pulumi in the middle of its work where this process is killed.
  // In a process group of its own: a terminal's Ctrl-C would reach Pulumi a second time beside ours.
  const child = spawn(join(PROJECT_ROOT, "script/stack"), args, {
    ...{ cwd: PROJECT_ROOT, stdio: ["ignore", file.fd, file.fd], detached: true },
  });
  const ended = once(child, "exit");
  const signalGroup = (signal: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
      // It has ended by itself.
    }
  };
  const onStop = (): void => signalGroup("SIGINT");
  let last: NodeJS.Timeout | undefined;
  const onKill = (): void => {
    signalGroup("SIGINT");
    last = setTimeout(() => signalGroup("SIGKILL"), LAST_WORDS);
  };
  const longest = setTimeout(onKill, LONGEST_RUN);
  stop.addEventListener("abort", onStop, { once: true });
  kill.addEventListener("abort", onKill, { once: true });
  const readLast = (): Promise<void> =>
    lastLines(`${own}.log`).then(
      (lines) => onLine(lines.at(-1) ?? ""),
      () => undefined,
    );
  const reader = setInterval(() => void readLast(), 500);
  try {
    if (stop.aborted) onStop();
    // Null where a signal ended it. A child that cannot be started rejects.
    const [exitCode] = z.tuple([z.number().nullable(), z.unknown()]).parse(await ended);
    return { exitCode, lines: await lastLines(`${own}.log`), log };
  } finally {
    clearInterval(reader);
    for (const timer of [longest, last]) clearTimeout(timer);
    stop.removeEventListener("abort", onStop);
    kill.removeEventListener("abort", onKill);
    await file.close();
    await rename(`${own}.log`, log);
    await rm(config, { force: true });
  }
}

/** The end of a file, in lines that say something. */
async function lastLines(path: string): Promise<string[]> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    const length = Math.min(size, LAST_BYTES);
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
    return buffer
      .toString("utf8")
      .split("\n")
      .filter((line) => line.trim() !== "");
  } finally {
    await file.close();
  }
}

/** Words of the CLI about who holds a stack's lock (backend/diy/lock.go; Pulumi Cloud: status 409). */
const LOCKED = /the stack is currently locked by|Another update is currently in progress/;
const HOLDER = /: created by (.+ \(pid \d+\) at \S+)/;

/** Who holds the stack, where that is why a run could not begin. */
export function lockHolder(lines: readonly string[]): string | undefined {
  if (!lines.some((line) => LOCKED.test(line))) return undefined;
  const holders = lines.flatMap((line) => HOLDER.exec(line)?.[1] ?? []);
  return holders.length > 0 ? holders.join(", ") : "another run";
}

/** Errors of Pulumi that only say that there are others. */
const FRAMES =
  /^(update|preview) failed$|^\d+ errors? occurred:$|no changes were expected|^\d+ errors?, as said above/;

/** What a failed run says is wrong, for a line; its log has the whole of it. */
export function errorsIn(lines: readonly string[]): string {
  const errors = lines.flatMap((line) => /^\s*(?:(?:taos-hosts: )?error: |\* )(.+)$/.exec(line)?.[1] ?? []);
  const telling = errors.filter((error) => !FRAMES.test(error));
  return [...new Set(telling)].slice(0, 3).join(" ") || "it ended without saying why";
}
