import { isRefusedByProject } from "../../common/errors.ts";
import type { IncusClient } from "../../incus/client.ts";
import { changeInstance } from "../../incus/instance-patch.ts";
import { findInstance, type InstanceRef } from "../../incus/instances.ts";
import { findProfile } from "../../incus/profiles.ts";
import { rootDevice } from "../../incus/root-device.ts";
import { rootDisk } from "../../incus/root-disk.ts";
import type { Instance } from "../../incus/schemas.ts";
import {
  type CopyJournal,
  type Journal,
  journalEntry,
  NO_JOURNAL,
  type Originals,
  requireMark,
  type SourceJournal,
} from "../../marks/journal.ts";
import { PARKED_KEY } from "../../marks/keys.ts";
import { identityConfig, originalsOf, parkedChange, withoutIdentity } from "../../marks/parked-record.ts";
import { type Move, refOf } from "../move.ts";
import type { Seen } from "../observation.ts";

/** Takes addresses and autostart from the source and keeps what they were, in one write. The name is still its own. */
export async function parkSource(move: Move, journal: SourceJournal): Promise<void> {
  const { name, project, from: pool, to: successorPool, owner, wasRunning } = journal;
  await changeInstance(move.client, refOf(move, name), (source) => {
    move.lease.assertHeld(source);
    // Somebody started it since it was compared: the next look sees that.
    if (source.status !== "Stopped") return undefined;
    const originals = journal.originals ?? originalsOf(source);
    const about = { name, project, pool, successorPool, reason: "migrated", owner, wasRunning } as const;
    const parked = parkedChange(source, about, originals);
    const next = journalEntry({ ...journal, phase: "parking", originals });
    return { ...parked, config: { ...parked.config, ...next, ...move.lease.entry(source) } };
  });
}

/** Takes name, addresses and autostart from what has been the container since the migration; it keeps all its data. */
export async function parkCopy(move: Move, seen: Seen<CopyJournal>, journal: SourceJournal): Promise<void> {
  const { name, project, to: pool, from: successorPool, owner, wasRunning } = journal;
  await changeInstance(move.client, refOf(move, seen.instance.name), (now) => {
    requireMark(now, seen.journal);
    if (now.config[PARKED_KEY]) return undefined;
    return parkedChange(now, { name, project, pool, successorPool, reason: "undone", owner, wasRunning });
  });
}

/**
 * Puts a source back to the settings it had before parking. Its name must be its own again.
 * @param last config that is written with the last of them
 */
export async function unparkSettings(
  client: IncusClient,
  ref: InstanceRef,
  originals: Originals,
  last: (instance: Instance) => Record<string, string>,
): Promise<void> {
  // Without the identity: what the project may forbid must not keep the rest from being put back.
  const config = withoutIdentity(originals);
  const devices = await devicesToRestore(client, ref, originals);
  const restored = await changeInstance(client, ref, () => ({ config, devices }));
  const finish = (what: Originals): Promise<Instance> =>
    changeInstance(client, ref, (now) => ({
      config: { ...identityConfig(what, restored, now), [PARKED_KEY]: "", ...last(now) },
    }));
  try {
    await finish(originals);
  } catch (error) {
    // A project may forbid keys of that level; the container runs without the old instance-id as well.
    if (!isRefusedByProject(error)) throw error;
    await finish({ config: {}, devices });
  }
}

/** Local devices as they were, with a root disk of its own where the profiles name another pool by now. */
async function devicesToRestore(
  client: IncusClient,
  ref: InstanceRef,
  { devices }: Originals,
): Promise<Originals["devices"]> {
  if (rootDisk(devices)) return devices;
  const instance = (await findInstance(client, ref))?.value;
  if (!instance) return devices;
  const profiles = await Promise.all(instance.profiles.map((name) => findProfile(client, ref.project, name)));
  const given = Object.assign({}, ...profiles.map((profile) => profile?.value.devices));
  const [name, root] = rootDevice(instance);
  return rootDisk(given)?.pool === root["pool"] ? devices : { ...devices, [name]: root };
}

/**
 * Takes the marks of a migration off an instance that was put back to a snapshot of that time, and gives it back the
 * settings that parking had changed. Where it is and whether it runs stays as it is: the restore decided that.
 */
export async function forgetMigration(move: Move, name: string, past: Journal): Promise<void> {
  const originals = past.role === "source" ? past.originals : undefined;
  await changeInstance(move.client, refOf(move, name), (instance) => {
    move.lease.assertHeld(instance);
    const marks = { ...NO_JOURNAL, [PARKED_KEY]: "" };
    if (!originals) return { config: marks };
    const [rootName, root] = rootDevice(instance);
    const devices = { ...originals.devices, [rootName]: root };
    return { config: { ...withoutIdentity(originals), ...marks }, devices };
  });
}
