import { z } from "zod";
import { VisibleError } from "../../common/errors.ts";
import { type HostFiles, volumeSegments } from "../../host/files.ts";
import { findInstance, type InstanceRef } from "../../incus/instances.ts";
import { api, parseApiUrl } from "../../incus/paths.ts";
import { rootPool } from "../../incus/root-device.ts";
import { type Move, refOf } from "../move.ts";
import type { Observation } from "../observation.ts";

/**
 * Puts right what a daemon that was killed during a rename leaves: Incus renames the volume's record, its directories
 * and links, and last the instance, with nothing that ties them together (backend.go, RenameInstance). Such an
 * instance can no longer be started, changed or deleted ("Instance storage pool not found"), and Incus has no call
 * that mends it. The instance's name is what counts; its volume gets that name back.
 */
export async function mendTornRenames(move: Move, seen: Observation): Promise<void> {
  const { source, copy } = seen;
  if (!source) return;
  const { name } = move.request;
  const renamed = [{ instance: source.instance, aside: source.journal.parked }];
  if (copy) renamed.push({ instance: copy.instance, aside: source.journal.copy });
  for (const { instance, aside } of renamed) {
    const other = instance.name === name ? aside : name;
    await mend(move, refOf(move, instance.name), other, rootPool(instance));
  }
}

async function mend(move: Move, ref: InstanceRef, other: string, pool: string): Promise<void> {
  const { client, files } = move;
  const query = { project: ref.project };
  const urls = await client.list(api("storage-pools", pool, "volumes", "container"), z.string(), { query });
  const records = urls.map((url) => parseApiUrl(url).segments.at(-1));
  // Whole, or something else holds the other name: not ours to touch.
  if (records.includes(ref.name) || !records.includes(other)) return;
  if (await findInstance(client, { ...ref, name: other })) return;
  move.progress(`putting right the volume of "${ref.name}": the daemon ended in the middle of renaming it`);
  const right = volumeSegments(pool, ref.project, ref.name);
  const wrong = volumeSegments(pool, ref.project, other);
  await moveBack(files, wrong, right);
  await moveBack(files, snapshotsOf(wrong), snapshotsOf(right));
  await linkBack(files, wrong, right);
  await linkBack(files, snapshotsOf(wrong), snapshotsOf(right));
  await client.write("POST", "/internal/sql", {
    body: { database: "global", query: renameRecord(ref, other, pool) },
  });
}

function snapshotsOf([pools = "", pool = "", , volume = ""]: readonly string[]): string[] {
  return [pools, pool, "containers-snapshots", volume];
}

/** One statement that changes one record, or none where the world is not as it was seen. */
function renameRecord(ref: InstanceRef, other: string, pool: string): string {
  const project = `(SELECT id FROM projects WHERE name=${quoted(ref.project)})`;
  return [
    `UPDATE storage_volumes SET name=${quoted(ref.name)}`,
    `WHERE name=${quoted(other)} AND type=0 AND project_id=${project}`,
    `AND storage_pool_id=(SELECT id FROM storage_pools WHERE name=${quoted(pool)})`,
    `AND EXISTS (SELECT 1 FROM instances WHERE name=${quoted(ref.name)} AND project_id=${project})`,
    `AND NOT EXISTS (SELECT 1 FROM instances WHERE name=${quoted(other)} AND project_id=${project})`,
  ].join(" ");
}

function quoted(name: string): string {
  if (!/^[^\0'"\\;]+$/.test(name))
    throw new VisibleError(`Cannot put right a volume with the name ${JSON.stringify(name)}.`);
  return `'${name}'`;
}

async function moveBack(files: HostFiles, wrong: readonly string[], right: readonly string[]): Promise<void> {
  if (!(await files.exists(...right)) && (await files.exists(...wrong))) {
    await files.rename(wrong, right);
  }
}

/** The link through which Incus finds an instance's directory, where that exists. */
async function linkBack(files: HostFiles, wrong: readonly string[], right: readonly string[]): Promise<void> {
  const [, , kind = "", name = ""] = right;
  const stale = [kind, wrong.at(-1) ?? ""];
  const directory = files.daemonPath(...right);
  if ((await files.linkTarget(...stale)) !== undefined) await files.remove(...stale);
  const target = await files.linkTarget(kind, name);
  if (!(await files.exists(...right)) || target === directory) return;
  if (target !== undefined) await files.remove(kind, name);
  await files.symlink(directory, [kind, name]);
}
