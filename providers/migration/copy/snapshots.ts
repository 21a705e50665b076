import { VisibleError } from "../../common/errors.ts";
import { createInstance, listSnapshots } from "../../incus/instances.ts";
import { api } from "../../incus/paths.ts";
import { findPool } from "../../incus/pools.ts";
import type { Instance, Snapshot } from "../../incus/schemas.ts";
import type { SourceJournal } from "../../marks/journal.ts";
import { type Move, refOf } from "../move.ts";
import { differences, type RsyncPass, synchronize } from "./rsync.ts";
import { COPY_DEADLINE, refuseMounts } from "./transfer.ts";
import { membersToCopy, snapshotVolumeOf, whileWritable } from "./volume.ts";

/**
 * Gives the copy exactly the source's snapshots: names, dates and settings through Incus' refresh, content through
 * rsync, since Incus' own copy breaks hardlinks and trusts size and date.
 * @returns whether there was anything to do
 */
export async function alignSnapshots(
  move: Move,
  source: Instance,
  copy: Instance,
  journal: SourceJournal,
): Promise<void> {
  const sourceRef = refOf(move, source.name);
  const copyRef = refOf(move, copy.name);
  const wanted = await listSnapshots(move.client, sourceRef);
  let present = await listSnapshots(move.client, copyRef);
  if (!sameRecords(wanted, present)) {
    move.progress(`carrying over ${wanted.length} snapshots`);
    move.comparedSnapshots.clear();
    await refresh(move, source, copy, journal);
    await move.reached("snapshots carried");
    present = await listSnapshots(move.client, copyRef);
    if (!sameRecords(wanted, present)) {
      throw new VisibleError(`The snapshots of "${source.name}" changed while they were copied. Run again.`);
    }
  }
  for (const snapshot of wanted) {
    await alignExpiry(move, copy, snapshot, present);
    const key = `${snapshot.name}@${snapshot.created_at}`;
    if (move.comparedSnapshots.has(key)) continue;
    move.progress(`comparing snapshot "${snapshot.name}"`);
    await alignContent(move, source, copy, journal, snapshot.name);
    move.comparedSnapshots.add(key);
  }
}

/** True where both lists have the same snapshots, by name and date of creation. */
function sameRecords(wanted: readonly Snapshot[], present: readonly Snapshot[]): boolean {
  const key = ({ name, created_at }: Snapshot): string => `${name}@${created_at}`;
  const keys = new Set(present.map(key));
  return wanted.length === present.length && wanted.every((snapshot) => keys.has(key(snapshot)));
}

/** Incus' refresh adds and removes snapshots and copies the volume; it leaves the copy's own settings alone. */
async function refresh(move: Move, source: Instance, copy: Instance, journal: SourceJournal): Promise<void> {
  await createInstance(
    move.client,
    journal.project,
    {
      name: copy.name,
      type: "container",
      profiles: [],
      config: {},
      devices: copy.devices,
      // Without allow_inconsistent a running container on a dir pool is frozen for the whole copy.
      source: { type: "copy", source: source.name, refresh: true, allow_inconsistent: true },
    },
    { deadline: COPY_DEADLINE, signal: move.signal },
  );
}

/** A snapshot's expiry may have been changed since it was carried over. */
async function alignExpiry(
  move: Move,
  copy: Instance,
  wanted: Snapshot,
  present: readonly Snapshot[],
): Promise<void> {
  const now = present.find(({ name }) => name === wanted.name);
  if (now?.expires_at === wanted.expires_at) return;
  await move.client.write("PUT", api("instances", copy.name, "snapshots", wanted.name), {
    query: { project: move.request.project },
    body: { expires_at: wanted.expires_at },
  });
}

async function alignContent(
  move: Move,
  source: Instance,
  copy: Instance,
  journal: SourceJournal,
  snapshot: string,
): Promise<void> {
  const { files } = move;
  await refuseMounts(move, journal);
  const from = snapshotVolumeOf(journal.from, refOf(move, source.name), snapshot);
  const to = snapshotVolumeOf(journal.to, refOf(move, copy.name), snapshot);
  const pass = async (checksum: boolean): Promise<RsyncPass> => ({
    files,
    from: await membersToCopy(files, from, to, true),
    to: files.daemonPath(...to),
    ...{ checksum, signal: move.signal, deadline: COPY_DEADLINE },
  });
  const driver = (await findPool(move.client, journal.to))?.value.driver ?? "";
  const equal = (await differences(await pass(true))).length === 0;
  // An interrupted run may have left it writable, so this is passed through even where nothing differs.
  await whileWritable(files, to, driver, async () => {
    if (!equal) await synchronize(await pass(true));
  });
  const left = await differences(await pass(false));
  if (left.length > 0) {
    throw new VisibleError(
      `Snapshot "${snapshot}" of "${source.name}" could not be copied exactly (${left.length} differences left). Run again; if it stays so, report it.`,
    );
  }
}
