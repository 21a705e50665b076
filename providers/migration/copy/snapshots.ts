import { VisibleError } from "../../common/errors.ts";
import { createInstance, listSnapshots, presentInstance } from "../../incus/instances.ts";
import { api } from "../../incus/paths.ts";
import { findPool } from "../../incus/pools.ts";
import type { Snapshot } from "../../incus/schemas.ts";
import type { SourceJournal } from "../../marks/journal.ts";
import { type Move, refOf } from "../move.ts";
import { COPY_DEADLINE, passOf, volumesOf } from "./passes.ts";
import { differences, synchronize } from "./rsync.ts";
import { whileWritable } from "./volume.ts";

/**
 * Gives the copy exactly the source's snapshots: names, dates and settings through Incus' refresh, content through
 * rsync, since Incus' own copy breaks hardlinks and trusts size and date.
 */
export async function alignSnapshots(move: Move, journal: SourceJournal): Promise<void> {
  const copyRef = refOf(move, journal.copy);
  const wanted = await listSnapshots(move.client, refOf(move, journal.name));
  let present = await listSnapshots(move.client, copyRef);
  if (!sameRecords(wanted, present)) {
    move.progress(`carrying over ${wanted.length} snapshots`);
    move.comparedSnapshots.clear();
    await refresh(move, journal);
    await move.reached("snapshots carried");
    present = await listSnapshots(move.client, copyRef);
    if (!sameRecords(wanted, present))
      throw new VisibleError(`The snapshots of "${journal.name}" changed while they were copied. Run again.`);
  }
  for (const snapshot of wanted) {
    const { name, expires_at } = snapshot;
    // It may have been changed since the snapshot was carried over.
    if (present.find((one) => one.name === name)?.expires_at !== expires_at) {
      const query = { project: copyRef.project };
      const path = api("instances", copyRef.name, "snapshots", name);
      await move.client.write("PUT", path, { query, body: { expires_at } });
    }
    const key = keyOf(snapshot);
    if (move.comparedSnapshots.has(key)) continue;
    move.progress(`comparing snapshot "${name}"`);
    await alignContent(move, journal, name);
    move.comparedSnapshots.add(key);
  }
}

/** True where both lists have the same snapshots, by name and date of creation. */
function sameRecords(wanted: readonly Snapshot[], present: readonly Snapshot[]): boolean {
  const keys = new Set(present.map(keyOf));
  return wanted.length === present.length && wanted.every((snapshot) => keys.has(keyOf(snapshot)));
}

function keyOf({ name, created_at }: Pick<Snapshot, "name" | "created_at">): string {
  return `${name}@${created_at}`;
}

/** Incus' refresh adds and removes snapshots and copies the volume; it leaves the copy's own settings alone. */
async function refresh(move: Move, { project, name, copy }: SourceJournal): Promise<void> {
  const { devices } = (await presentInstance(move.client, refOf(move, copy))).value;
  // Without allow_inconsistent a running container on a dir pool is frozen for the whole copy.
  const source = { type: "copy", source: name, refresh: true, allow_inconsistent: true };
  await createInstance(
    move.client,
    project,
    { name: copy, type: "container", profiles: [], config: {}, devices, source },
    { deadline: COPY_DEADLINE, signal: move.signal },
  );
}

async function alignContent(move: Move, journal: SourceJournal, snapshot: string): Promise<void> {
  const pass = await passOf(move, journal, { snapshot });
  const driver = (await findPool(move.client, journal.to))?.value.driver ?? "";
  const equal = (await differences({ ...pass, checksum: true })).length === 0;
  // An interrupted run may have left it writable, so this is passed through even where nothing differs.
  await whileWritable(move.files, volumesOf(move, journal, snapshot).copy, driver, async () => {
    if (!equal) await synchronize({ ...pass, checksum: true });
  });
  const left = await differences(pass);
  if (left.length > 0) {
    throw new VisibleError(
      `Snapshot "${snapshot}" of "${journal.name}" could not be copied exactly (${left.length} differences left). Run again; if it stays so, report it.`,
    );
  }
}
