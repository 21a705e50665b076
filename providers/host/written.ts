import { parkedMarkOf } from "../marks/identity.ts";
import { type HostFiles, volumeSegments } from "./files.ts";
import type { InstanceLook } from "./look-instance.ts";

/**
 * Fills in what an undo would put aside, for the containers that are named: files that changed since their source was
 * parked.
 * @param deadline milliseconds for each
 */
export async function addWrittenSince(
  instances: InstanceLook[],
  files: HostFiles,
  named: readonly { project: string; name: string }[],
  deadline: number,
): Promise<void> {
  for (const { project, name } of named) {
    const instance = instances.find((one) => one.name === name && one.project === project);
    const since = keptSourceOf(instances, project, name)?.since;
    if (!instance?.root || since === undefined) continue;
    const root = files.daemonPath(...volumeSegments(instance.root.pool, project, name), "rootfs");
    instance.writtenSince = { since, ...(await countChanged(files, root, since, deadline)) };
  }
}

/** The parked source that an undo of a container's migration goes back to, and since when it is parked. */
export function keptSourceOf(
  instances: readonly InstanceLook[],
  project: string,
  name: string,
): { instance: InstanceLook; since: string } | undefined {
  for (const instance of instances) {
    const mark = instance.project === project ? parkedMarkOf(instance) : undefined;
    if (mark?.name === name && mark.reason === "migrated") return { instance, since: mark.at ?? "" };
  }
  return undefined;
}

async function countChanged(
  files: HostFiles,
  root: string,
  since: string,
  deadline: number,
): Promise<{ files: number | null; bytes: number | null }> {
  const seconds = Math.floor(Date.parse(since) / 1000);
  if (Number.isNaN(seconds)) return { files: null, bytes: null };
  const changed = ["-xdev", "-type", "f", "-newerct", `@${seconds}`, "-printf", "%s\\n"];
  const { stdout, exitCode } = await files.run(["find", root, ...changed], { timeout: deadline });
  if (exitCode !== 0) return { files: null, bytes: null };
  const sizes = stdout.toString().split("\n").filter(Boolean).map(Number);
  return { files: sizes.length, bytes: sizes.reduce((sum, size) => sum + size, 0) };
}
