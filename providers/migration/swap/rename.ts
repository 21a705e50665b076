import { exclusively } from "../../incus/instance-patch.ts";
import { presentInstance, renameInstance } from "../../incus/instances.ts";
import { type Journal, requireMark } from "../../marks/journal.ts";
import { type Move, refOf } from "../move.ts";
import type { Seen } from "../observation.ts";

/** Milliseconds for Incus to rename an instance. */
const DEADLINE = 120_000;

/** Renames source or copy; Incus refuses while it runs. @throws VisibleError where it is another instance by now */
export async function rename(move: Move, { instance, journal }: Seen<Journal>, to: string): Promise<void> {
  const ref = refOf(move, instance.name);
  await exclusively(move.client, ref, async () => {
    requireMark((await presentInstance(move.client, ref)).value, journal);
    await renameInstance(move.client, ref, to, { deadline: DEADLINE, signal: move.signal });
  });
}
