import { randomUUID } from "node:crypto";
import { formatBytes } from "../../common/bytes.ts";
import { VisibleError } from "../../common/errors.ts";
import { refuseForeignMounts } from "../../host/foreign-mounts.ts";
import { findImage } from "../../incus/images.ts";
import { createInstance, deleteInstance, findInstance } from "../../incus/instances.ts";
import { findPool } from "../../incus/pools.ts";
import { rootDevice, rootPool } from "../../incus/root-device.ts";
import type { Instance, Snapshot } from "../../incus/schemas.ts";
import { GENERATION_KEY, UUID_KEY } from "../../marks/identity.ts";
import { type CopyJournal, journalEntry, requireMark, type SourceJournal } from "../../marks/journal.ts";
import { type Move, refOf } from "../move.ts";
import type { Seen } from "../observation.ts";
import { endOrphans } from "../record/orphans.ts";
import { estimate, type RsyncPass, type RsyncProgress, type RsyncResult, synchronize } from "./rsync.ts";
import { ensureSpace } from "./space.ts";
import { changedSince, flush, membersToCopy, snapshotVolumeOf, type Volume, volumeOf } from "./volume.ts";

/** Milliseconds for one copy of all of a container; slow media and large containers take hours. */
export const COPY_DEADLINE = 6 * 3_600_000;
/** A live round is the last when it moved at most this much; the pass after the stop then takes little. */
const SMALL_BYTES = 4 * 1024 ** 2;
const SMALL_FILES = 100;
/** A further live round must move at most this part of the one before. */
const SHRINKING = 0.7;
const MOST_ROUNDS = 8;
/** Milliseconds between two lines of progress. */
const PROGRESS_EVERY = 2_000;

/** Where the source's and the copy's files are while the copy has its own name. */
export function volumesOf(move: Move, journal: SourceJournal): { source: Volume; copy: Volume } {
  return {
    source: volumeOf(journal.from, refOf(move, journal.name)),
    copy: volumeOf(journal.to, refOf(move, journal.copy)),
  };
}

/**
 * Makes the copy: bare (no profiles, no devices but the root, so that no address, name or port is taken twice), from
 * the base image where the host has it, since unchanged files then share blocks with the image.
 */
export async function createCopy(move: Move, source: Instance, journal: SourceJournal): Promise<void> {
  const [rootName, root] = rootDevice(source);
  const image = await baseImage(move, source, journal);
  // Given by us, so that the journal names its instance from the first moment on.
  const uuid = randomUUID();
  const own: CopyJournal = {
    role: "copy",
    id: journal.id,
    ...{ uuid, generation: uuid, sourceUuid: journal.uuid, wasRunning: journal.wasRunning },
    phase: "seeding",
    name: journal.name,
    from: journal.from,
    to: journal.to,
  };
  move.progress(
    image
      ? `cloning base image ${image.slice(0, 12)} in pool "${journal.to}"`
      : `creating an empty copy in pool "${journal.to}"`,
  );
  const { "initial.uid": _uid, "initial.gid": _gid, "initial.mode": _mode, ...plainRoot } = root;
  await createInstance(
    move.client,
    journal.project,
    {
      name: journal.copy,
      type: "container",
      architecture: source.architecture,
      profiles: [],
      config: {
        ...journalEntry(own),
        ...settingsFromTheStart(source),
        ...{ [UUID_KEY]: uuid, [GENERATION_KEY]: uuid },
      },
      devices: { [rootName]: { ...plainRoot, pool: journal.to } },
      source: image ? { type: "image", fingerprint: image } : { type: "none" },
    },
    {
      deadline: COPY_DEADLINE,
      signal: move.signal,
      onProgress: () => move.progress("unpacking the base image"),
    },
  );
}

/**
 * Settings that decide how Incus maps owners on disk, and those that a project's limits count, so that what they
 * allow is known before the source is stopped; the rest follows at the swap.
 */
function settingsFromTheStart(source: Instance): Record<string, string> {
  const keys = [
    ...["security.privileged", "raw.idmap", "security.idmap.size"],
    ...["limits.memory", "limits.cpu", "limits.processes"],
  ];
  return Object.fromEntries(
    keys.flatMap((key) => (source.expanded_config[key] ? [[key, source.expanded_config[key]]] : [])),
  );
}

async function baseImage(move: Move, source: Instance, journal: SourceJournal): Promise<string | undefined> {
  const fingerprint = source.config["volatile.base_image"];
  if (!fingerprint) return undefined;
  const [image, pool] = await Promise.all([
    findImage(move.client, journal.project, fingerprint),
    findPool(move.client, journal.to),
  ]);
  // Only a copy-on-write pool shares blocks; elsewhere the image would be unpacked for nothing.
  return image && pool?.value.driver === "btrfs" ? image.fingerprint : undefined;
}

/** Deletes the copy with all its snapshots. Absent is fine. @throws VisibleError where it is another instance by now */
export async function deleteCopy(move: Move, { instance, journal }: Seen<CopyJournal>): Promise<void> {
  const ref = refOf(move, instance.name);
  const found = await findInstance(move.client, ref);
  if (!found) return;
  requireMark(found.value, journal);
  const volumes = [{ pool: rootPool(found.value), ref }];
  await refuseForeignMounts(move.files, volumes, `delete the copy "${ref.name}"`);
  await deleteInstance(move.client, ref, { deadline: COPY_DEADLINE });
}

/**
 * Refuses, before anything large is copied, where what differs from the clone does not fit: what the oldest snapshot
 * adds to it, each later one to the one before, and the root to the newest.
 */
export async function ensureDeltaFits(
  move: Move,
  journal: SourceJournal,
  snapshots: readonly Snapshot[],
): Promise<void> {
  const { source, copy } = volumesOf(move, journal);
  const byDate = [...snapshots].sort((a, b) => a.created_at.localeCompare(b.created_at));
  const ref = refOf(move, journal.name);
  const chain = [copy, ...byDate.map(({ name }) => snapshotVolumeOf(journal.from, ref, name)), source];
  let bytes = 0;
  for (const [index, to] of chain.slice(0, -1).entries()) {
    const from = chain[index + 1] ?? source;
    const { files, signal } = move;
    const pass = { files, from: [files.daemonPath(...from, "rootfs")], to: files.daemonPath(...to) };
    bytes += (await estimate({ ...pass, live: true, signal, deadline: COPY_DEADLINE })).bytes;
  }
  await ensureSpace(move.client, move.files, journal.to, bytes);
  move.progress(`${formatBytes(bytes)} differ from what pool "${journal.to}" has already`);
}

/** First full copy. Compares content: a file may differ from the image's with the same size and date. */
export async function copyAll(move: Move, journal: SourceJournal): Promise<void> {
  await transfer(move, await passOf(move, journal, { live: true, checksum: true }), "copying");
}

/**
 * Copies what changed, again and again, until little is left or it no longer gets less. The source may run.
 * @returns the moment since which changes may be missing in the copy, as in the journal's `copiedSince`
 */
export async function copyRounds(move: Move, journal: SourceJournal): Promise<number> {
  let before = Number.POSITIVE_INFINITY;
  let { copiedSince } = journal;
  for (let round = 1; round <= MOST_ROUNDS; round++) {
    const began = await beginOfCopy(move, journal);
    const { bytes, files } = await transfer(
      move,
      await passOf(move, journal, { live: true }),
      `live round ${round}`,
    );
    const changed = await changedSince(move.files, volumesOf(move, journal).source, copiedSince, move.signal);
    if (changed.length > 0) await synchronize({ ...changedPass(move, journal, changed), live: true });
    copiedSince = began;
    move.progress(`live round ${round} done: ${files} files, ${formatBytes(bytes)}`);
    await move.reached(`round ${round}`);
    if ((bytes <= SMALL_BYTES && files <= SMALL_FILES) || bytes > before * SHRINKING) break;
    before = bytes;
  }
  return copiedSince;
}

/**
 * The moment before a copy, in seconds since 1970. The source is flushed after it: pages that a program has mapped
 * are clean then, so that a later write through the mapping changes the inode's time.
 */
export async function beginOfCopy(move: Move, journal: SourceJournal): Promise<number> {
  // A second for clocks that count coarsely.
  const now = Date.now() / 1000 - 1;
  await flush(move.files, volumesOf(move, journal).source);
  return now;
}

/**
 * The pass after the stop. Files whose inode changed since the last live round are compared by content as well: a
 * write through a memory mapping, or one whose date was set back, changes neither size nor date.
 */
export async function copyFinally(move: Move, journal: SourceJournal): Promise<Buffer[]> {
  const { source, copy } = volumesOf(move, journal);
  await endOrphans(move.files, copy);
  const pass = await passOf(move, journal, {});
  const [{ bytes, files }, changed] = await Promise.all([
    transfer(move, pass, "final pass"),
    changedSince(move.files, source, journal.copiedSince, move.signal),
  ]);
  if (changed.length > 0) await synchronize(changedPass(move, journal, changed));
  move.progress(`final pass done: ${files} files, ${formatBytes(bytes)}`);
  return changed;
}

/** Content comparison of single files below rootfs. */
export function changedPass(move: Move, journal: SourceJournal, only: readonly Buffer[]): RsyncPass {
  const { source, copy } = volumesOf(move, journal);
  return {
    files: move.files,
    from: [move.files.daemonPath(...source, "rootfs")],
    to: move.files.daemonPath(...copy, "rootfs"),
    ...{ only, checksum: true, signal: move.signal, deadline: COPY_DEADLINE },
  };
}

/** A pass over everything in the volume that is the container's. */
export async function passOf(
  move: Move,
  journal: SourceJournal,
  options: Pick<RsyncPass, "live" | "checksum">,
): Promise<RsyncPass> {
  const { source, copy } = volumesOf(move, journal);
  const { files, signal } = move;
  await refuseMounts(move, journal);
  const from = await membersToCopy(files, source, copy);
  return { files, from, to: files.daemonPath(...copy), ...options, signal, deadline: COPY_DEADLINE };
}

/** @throws VisibleError where something of the host is mounted below source or copy: rsync would go into it */
export async function refuseMounts(move: Move, journal: SourceJournal): Promise<void> {
  const volumes = [
    { pool: journal.from, ref: refOf(move, journal.name) },
    { pool: journal.to, ref: refOf(move, journal.copy) },
  ];
  await refuseForeignMounts(move.files, volumes, `copy "${journal.name}"`);
}

async function transfer(move: Move, pass: RsyncPass, phase: string): Promise<RsyncResult> {
  let last = performance.now();
  const onProgress = ({ bytes, percent, rate }: RsyncProgress): void => {
    if (performance.now() - last < PROGRESS_EVERY) return;
    last = performance.now();
    move.progress(`${phase}: ${formatBytes(bytes)}, ${percent} %, ${rate}`);
  };
  try {
    return await synchronize({ ...pass, onProgress });
  } catch (error) {
    if (error instanceof VisibleError && error.name === "VisibleError") {
      throw new VisibleError(
        `${phase[0]?.toUpperCase()}${phase.slice(1)} to pool "${move.request.target}" failed: ${error.message}`,
      );
    }
    throw error;
  }
}
