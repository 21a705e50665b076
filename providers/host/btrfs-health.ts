import { messageOf } from "../common/errors.ts";
import { type HostFiles, runSuccessfully } from "./files.ts";

/** What a btrfs says of itself. Sizes in bytes. */
export interface BtrfsHealth {
  /** Neither data's nor metadata's yet. */
  unallocated: number;
  metadata: {
    total: number;
    used: number;
    /** Of `total`, kept by the kernel for itself. */
    reserve: number;
    /** How often each block is written: 2 for DUP. */
    copies: number;
  };
  /** Counters of `btrfs device stats` that are not zero. */
  errors: { device: string; counter: string; count: number }[];
  scrub: ScrubLook | "never";
}

/** The last scrub. */
export interface ScrubLook {
  /** Milliseconds since 1970. */
  startedAt: number;
  /** `finished`, `running`, `aborted`, `interrupted`. */
  status: string;
  /** Blocks that it could not mend. */
  uncorrectable: number;
}

/** Milliseconds for a btrfs command; on slow media each reads from the disk. */
const DEADLINE = 15_000;

/** Looks at a mounted btrfs in three commands. The reason, where one of them fails. */
export async function lookAtBtrfs(
  files: Pick<HostFiles, "run">,
  path: string,
): Promise<BtrfsHealth | { unread: string }> {
  const ask = async (...argv: string[]): Promise<string> =>
    (await runSuccessfully(files, [...argv, path], { timeout: DEADLINE })).toString();
  try {
    const [usage, stats, scrub] = await Promise.all([
      ask("btrfs", "filesystem", "usage", "--raw"),
      ask("btrfs", "device", "stats"),
      ask("env", "TZ=UTC", "btrfs", "scrub", "status", "--raw"),
    ]);
    return { ...parseUsage(usage), errors: parseDeviceStats(stats), scrub: parseScrub(scrub) };
  } catch (error) {
    return { unread: messageOf(error) };
  }
}

/** Text of `btrfs filesystem usage --raw`. @throws RangeError where a number is missing */
export function parseUsage(text: string): Pick<BtrfsHealth, "unallocated" | "metadata"> {
  const number = (pattern: RegExp): number => {
    const found = pattern.exec(text)?.[1];
    if (found === undefined) throw new RangeError(`btrfs filesystem usage says no ${pattern.source}`);
    return Number(found);
  };
  // Small file systems may keep both in the same blocks.
  const kind = /^Metadata,/m.test(text) ? "Metadata" : "Data\\+Metadata";
  return {
    unallocated: number(/Device unallocated:\s+(\d+)/),
    metadata: {
      total: number(new RegExp(`^${kind},\\w+: Size:(\\d+)`, "m")),
      used: number(new RegExp(`^${kind},\\w+: Size:\\d+, Used:(\\d+)`, "m")),
      reserve: number(/Global reserve:\s+(\d+)/),
      copies: number(/Metadata ratio:\s+([\d.]+)/),
    },
  };
}

/** Text of `btrfs device stats`: what is not zero. */
export function parseDeviceStats(text: string): BtrfsHealth["errors"] {
  return [...text.matchAll(/^\[(.+)\]\.(\w+)\s+(\d+)$/gm)]
    .map(([, device = "", counter = "", count]) => ({ device, counter, count: Number(count) }))
    .filter(({ count }) => count > 0);
}

/** Text of `btrfs scrub status` in UTC. */
export function parseScrub(text: string): ScrubLook | "never" {
  const started = /^Scrub (?:started|resumed):\s+(.+)$/m.exec(text)?.[1];
  if (started === undefined) return "never";
  return {
    startedAt: Date.parse(`${started} UTC`),
    status: /^Status:\s+(\w+)/m.exec(text)?.[1] ?? "",
    uncorrectable: Number(/Uncorrectable:\s+(\d+)/.exec(text)?.[1] ?? 0),
  };
}
