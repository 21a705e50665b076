import { NOT_FOUND } from "../../common/command.ts";
import { VisibleError } from "../../common/errors.ts";
import type { HostFiles } from "../../host/files.ts";

/**
 * Everything a container's files have: links among them (-H), ACLs, all extended attributes (-XX also those named
 * like rsync's own), holes, numeric owners, and times to the nanosecond, which rsync compares only with a negative
 * window (otherwise a change within the second of the last copy and of the same size would be missed).
 */
const EXACT = ["-aHAXXS", "--numeric-ids", "--modify-window=-1"];
/** Changed or vanished while being read: expected of a running source. */
const LIVE_EXIT_CODES = [23, 24];

/** What a shell makes of SIGKILL. */
const KILLED = 137;

export interface RsyncPass {
  /** The host whose files these are. */
  files: Pick<HostFiles, "run">;
  /** Files and directories as the daemon sees them, absolute, without a slash at the end. */
  from: readonly string[];
  /** The directory that gets them. */
  to: string;
  /** The source may change meanwhile: files that do so are left to the next pass. @default false */
  live?: boolean;
  /** Compares content where size and times are equal, too. Reads everything on both sides. @default false */
  checksum?: boolean;
  /** Paths relative to the one `from`: only these are looked at. */
  only?: readonly Buffer[];
  onProgress?: (progress: RsyncProgress) => void;
  signal: AbortSignal;
  /** Milliseconds. */
  deadline: number;
}

export interface RsyncProgress {
  bytes: number;
  percent: number;
  /** As rsync says it, for example `103.56MB/s`. */
  rate: string;
}

export interface RsyncResult {
  /** Size of the files that were, or would be, transferred. */
  bytes: number;
  files: number;
}

/** Makes `to` equal to `from`. @throws VisibleError with the reason, never with a file's content */
export async function synchronize(pass: RsyncPass): Promise<RsyncResult> {
  const stdout = await run([...EXACT, ...selection(pass), "--stats", "--info=progress2", "--no-h"], pass);
  return statsOf(stdout);
}

/** What `synchronize` would transfer. */
export async function estimate(pass: RsyncPass): Promise<RsyncResult> {
  const stdout = await run([...EXACT, "--dry-run", ...selection(pass), "--stats", "--no-h"], pass);
  return statsOf(stdout);
}

/** The differences between `from` and `to`, one line each as rsync itemizes them; none means equal. At most 20. */
export async function differences(pass: RsyncPass): Promise<string[]> {
  const stdout = await run([...EXACT, "--dry-run", ...selection(pass), "--itemize-changes"], pass);
  return stdout.split("\n").filter(Boolean).slice(0, 20);
}

function selection(pass: RsyncPass): string[] {
  const checksum = pass.checksum ? ["--checksum"] : [];
  return pass.only ? [...checksum, "--from0", "--files-from=-"] : [...checksum, "--delete"];
}

/** A line of `--info=progress2`, for example `32,768 100% 103.56MB/s 0:00:00 (xfr#1, to-chk=0/2)`. */
export function parseProgress(line: string): RsyncProgress | undefined {
  const match = /^\s*([\d,]+)\s+(\d+)%\s+(\S+\/s)/.exec(line);
  if (!match) return undefined;
  return {
    bytes: Number((match[1] ?? "").replaceAll(",", "")),
    percent: Number(match[2]),
    rate: match[3] ?? "",
  };
}

async function run(options: string[], pass: RsyncPass): Promise<string> {
  const writes = !options.includes("--dry-run");
  const input = pass.only ? Buffer.concat(pass.only.flatMap((path) => [path, Buffer.from([0])])) : undefined;
  const result = await pass.files.run(["rsync", ...options, "--", ...pass.from, `${pass.to}/`], {
    input,
    timeout: pass.deadline,
    signal: pass.signal,
    // A killed run must not leave an rsync behind that writes into a container which another run has started.
    writes,
    onOutput: (text) => {
      const progress = parseProgress(text.split("\r").at(-1) ?? "");
      if (progress) pass.onProgress?.(progress);
    },
  });
  if (result.timedOut)
    throw new VisibleError(`rsync did not end within ${Math.round(pass.deadline / 1000)} s.`);
  const { exitCode, stderr } = result;
  const isLive = pass.live && LIVE_EXIT_CODES.includes(exitCode) && !lackOfSpace(stderr);
  if (exitCode === 0 || isLive) return result.stdout.toString();
  throw new VisibleError(`rsync failed: ${reasonOf(stderr, exitCode)}`);
}

function lackOfSpace(stderr: string): string | undefined {
  if (stderr.includes("No space left on device"))
    return "no space left on the target pool, or on the host under its loop file";
  if (stderr.includes("Disk quota exceeded"))
    return "the root disk's size limit on the target pool was reached";
  if (stderr.includes("Read-only file system")) return "the target pool has become read-only";
  if (stderr.includes("Input/output error"))
    return "input/output error; the disk, or the host's file system under the loop file, may be full or broken";
  return undefined;
}

function reasonOf(stderr: string, code: number): string {
  const known = lackOfSpace(stderr);
  if (known) return `${known}.`;
  if (code === NOT_FOUND) return "rsync cannot be run on the host; install it.";
  if (code === KILLED) return "it was killed on the host, after 12 s without a sign of life from here.";
  const line = stderr.split("\n").find((text) => text.startsWith("rsync")) ?? "no reason given";
  return `${line.slice(0, 300)} (exit code ${code}).`;
}

function statsOf(stdout: string): RsyncResult {
  const number = (label: string): number => {
    const match = new RegExp(`${label}: ([\\d,]+)`).exec(stdout);
    return Number((match?.[1] ?? "0").replaceAll(",", ""));
  };
  return {
    bytes: number("Total transferred file size"),
    files: number("Number of regular files transferred"),
  };
}
