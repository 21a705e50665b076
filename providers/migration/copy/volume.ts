import { join } from "node:path";
import { VisibleError } from "../../common/errors.ts";
import { type HostFiles, runSuccessfully, volumeSegments } from "../../host/files.ts";
import type { InstanceRef } from "../../incus/instances.ts";

/** What belongs to a container in its volume. `backup.yaml` is Incus' own and differs by design. */
const MEMBERS = ["rootfs", "templates", "metadata.yaml"] as const;
/** Milliseconds for one walk over a container's files. */
const WALK_DEADLINE = 600_000;

/** A container's volume, or one snapshot of it, as directories below Incus' own. */
export type Volume = readonly string[];

/** The volume of an instance, or that of one of its snapshots. */
export function volumeOf(pool: string, ref: InstanceRef, snapshot?: string): Volume {
  const [pools = "", name = "", containers = "", volume = ""] = volumeSegments(pool, ref.project, ref.name);
  if (snapshot === undefined) return [pools, name, containers, volume];
  if (snapshot === "." || snapshot === ".." || snapshot.includes("/"))
    throw new RangeError(`not a snapshot name: ${snapshot}`);
  return [pools, name, `${containers}-snapshots`, volume, snapshot];
}

/** The members of `from` as rsync takes them; what `from` lacks is removed from `to` unless `keep` is set. */
export async function membersToCopy(
  files: HostFiles,
  from: Volume,
  to: Volume,
  keep: boolean,
): Promise<string[]> {
  const paths = MEMBERS.map((member) => files.daemonPath(...from, member));
  const targets = MEMBERS.map((member) => files.daemonPath(...to, member));
  // One look: over a link each takes a while, and two of these come while the container is down.
  const found = await files.existing([...paths, ...targets]);
  const present = paths.filter((path) => found.includes(path));
  for (const [index, member] of MEMBERS.entries()) {
    const isSurplus = !present.includes(paths[index] ?? "") && found.includes(targets[index] ?? "");
    if (keep || member === "rootfs" || !isSurplus) continue;
    // Asked by itself: only what is known to be absent is.
    if (!(await files.exists(...from, member))) await files.remove(...to, member);
  }
  if (!present[0]?.endsWith("/rootfs") || !found.includes(targets[0] ?? "")) {
    throw new VisibleError(
      `The files of a volume are not where Incus keeps them (${join(...from)} to ${join(...to)}). Is the pool mounted?`,
    );
  }
  return present;
}

/** Paths, relative to rootfs, of regular files whose inode changed at or after `since` (seconds since 1970). */
export async function changedSince(
  files: HostFiles,
  volume: Volume,
  since: number,
  signal: AbortSignal,
): Promise<Buffer[]> {
  const root = files.daemonPath(...volume, "rootfs");
  const newer = ["-type", "f", "-newerct", `@${Math.floor(since)}`, "-printf", "%P\\0"];
  return splitAtZero(
    await runSuccessfully(files, ["find", root, ...newer], { timeout: WALK_DEADLINE, signal }),
  );
}

/** True where a btrfs subvolume is nested in the rootfs: its top has inode 256 on another device. */
export async function hasNestedSubvolumes(
  files: HostFiles,
  volume: Volume,
  signal: AbortSignal,
): Promise<boolean> {
  const tops = ["-mindepth", "1", "-xdev", "-type", "d", "-inum", "256", "-print", "-quit"];
  const argv = ["find", files.daemonPath(...volume, "rootfs"), ...tops];
  const { stdout } = await files.run(argv, { timeout: WALK_DEADLINE, signal });
  return stdout.length > 0;
}

/** Number of files with the immutable or append-only flag. */
export async function countFlagged(files: HostFiles, volume: Volume, signal: AbortSignal): Promise<number> {
  // Special files make lsattr complain and exit with 1.
  const argv = ["lsattr", "-aR", files.daemonPath(...volume, "rootfs")];
  const { stdout } = await files.run(argv, { timeout: WALK_DEADLINE, signal });
  return stdout
    .toString()
    .split("\n")
    .filter((line) => /^[-A-Za-z]*[ia][-A-Za-z]* /.test(line) && /^[-A-Za-z]{16,} /.test(line)).length;
}

/** Runs `task` while a snapshot's subvolume is writable. On a pool that is not btrfs snapshots are plain directories. */
export async function whileWritable(
  files: HostFiles,
  snapshot: Volume,
  driver: string,
  task: () => Promise<void>,
): Promise<void> {
  if (driver !== "btrfs") return task();
  const path = files.daemonPath(...snapshot);
  const set = async (value: "true" | "false"): Promise<void> => {
    const argv = ["btrfs", "property", "set", "-t", "s", path, "ro", value];
    await runSuccessfully(files, argv, { timeout: 60_000, writes: true });
  };
  await set("false");
  try {
    await task();
  } finally {
    await set("true");
  }
}

/** Flushes the file system of a volume to disk. */
export async function flush(files: HostFiles, volume: Volume): Promise<void> {
  const argv = ["sync", "--file-system", files.daemonPath(...volume)];
  await runSuccessfully(files, argv, { timeout: WALK_DEADLINE });
}

function splitAtZero(bytes: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let start = 0; start < bytes.length; ) {
    const end = bytes.indexOf(0, start);
    parts.push(bytes.subarray(start, end === -1 ? bytes.length : end));
    start = end === -1 ? bytes.length : end + 1;
  }
  return parts;
}
