import { VisibleError } from "../common/errors.ts";
import { findInstance } from "../incus/instances.ts";
import { rootPool } from "../incus/root-device.ts";
import { identityOf } from "../marks/identity.ts";
import { copyName, parkedName } from "../marks/made-names.ts";
import { deadEnd } from "./failures.ts";
import { type Move, refOf } from "./move.ts";
import { preflight } from "./preflight.ts";
import { newJournal, writeSource } from "./record/journals.ts";
import { endOrphans } from "./record/orphans.ts";

/**
 * Looks whether a container can be moved, then writes the journal of its migration: the first write to it.
 * @throws VisibleError with the way out; nothing has been written then
 */
export async function begin(move: Move): Promise<void> {
  const { name, target: to } = move.request;
  const named = (await findInstance(move.client, move.request))?.value;
  if (!named) throw deadEnd("absent", {}, name);
  move.progress(`looking whether "${name}" can move to pool "${to}"`);
  await preflight(move, named);
  const from = rootPool(named);
  const { uuid } = identityOf(named);
  const names = { copy: copyName(name, uuid), parked: parkedName(name, uuid) };
  const journal = await newJournal(move, named, named, { phase: "copying", ...names, from, to });
  move.lease.ref = refOf(move, name);
  await move.lease.acquire(move.progress);
  await endOrphans(move.files, move.lease.anyId);
  await writeSource(move, name, journal, (now) => {
    // Another run came and went between our look and our lease.
    if (rootPool(now) !== from) throw new VisibleError(`"${name}" has moved meanwhile. Run again.`);
  });
}
