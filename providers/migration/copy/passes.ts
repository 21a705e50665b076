import { refuseForeignMounts } from "../../host/foreign-mounts.ts";
import type { SourceJournal } from "../../marks/journal.ts";
import { type Move, refOf } from "../move.ts";
import type { RsyncPass } from "./rsync.ts";
import { membersToCopy, type Volume, volumeOf } from "./volume.ts";

/** Milliseconds for one copy of all of a container; slow media and large containers take hours. */
export const COPY_DEADLINE = 6 * 3_600_000;

/** Where the source's and the copy's files are, or those of a snapshot of both, while the copy has its own name. */
export function volumesOf(
  move: Move,
  { from, to, name, copy }: SourceJournal,
  snapshot?: string,
): { source: Volume; copy: Volume } {
  return {
    source: volumeOf(from, refOf(move, name), snapshot),
    copy: volumeOf(to, refOf(move, copy), snapshot),
  };
}

/**
 * A pass over everything in a volume that is the container's; with `snapshot`, over that snapshot's.
 * @throws VisibleError where something of the host is mounted below source or copy: rsync would go into it
 */
export async function passOf(
  move: Move,
  journal: SourceJournal,
  { snapshot, ...options }: Pick<RsyncPass, "live" | "checksum"> & { snapshot?: string } = {},
): Promise<RsyncPass> {
  const { files, signal } = move;
  const mountable = [
    { pool: journal.from, ref: refOf(move, journal.name) },
    { pool: journal.to, ref: refOf(move, journal.copy) },
  ];
  await refuseForeignMounts(files, mountable, `copy "${journal.name}"`);
  const { source, copy } = volumesOf(move, journal, snapshot);
  const from = await membersToCopy(files, source, copy, snapshot !== undefined);
  return { files, from, to: files.daemonPath(...copy), ...options, signal, deadline: COPY_DEADLINE };
}

/** Content comparison of single files below rootfs. */
export function changedPass(move: Move, journal: SourceJournal, only: readonly Buffer[]): RsyncPass {
  const { source, copy } = volumesOf(move, journal);
  const { files, signal } = move;
  const from = [files.daemonPath(...source, "rootfs")];
  const to = files.daemonPath(...copy, "rootfs");
  return { files, from, to, only, checksum: true, signal, deadline: COPY_DEADLINE };
}
