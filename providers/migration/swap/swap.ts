import { randomUUID } from "node:crypto";
import { IncusApiError, isRefusedByProject, VisibleError } from "../../common/errors.ts";
import type { IncusClient } from "../../incus/client.ts";
import { changeInstance, exclusively } from "../../incus/instance-patch.ts";
import { findInstance, type InstanceRef, renameInstance, setInstanceState } from "../../incus/instances.ts";
import { findProfile } from "../../incus/profiles.ts";
import { rootDevice } from "../../incus/root-device.ts";
import { rootDisk } from "../../incus/root-disk.ts";
import type { Instance } from "../../incus/schemas.ts";
import { GENERATION_KEY, identityOf, UUID_KEY } from "../../marks/identity.ts";
import {
  type CopyJournal,
  type Journal,
  journalEntry,
  type Originals,
  readJournal,
  requireMark,
  type SourceJournal,
} from "../../marks/journal.ts";
import { CREATED_AT_KEY, JOURNAL_KEY, LAST_USED_AT_KEY, LEASE_KEY, PARKED_KEY } from "../../marks/keys.ts";
import { originalsOf, type ParkedRecord, parkedSettings } from "../../marks/parked-record.ts";
import { type Move, refOf } from "../move.ts";
import type { Seen } from "../observation.ts";

const INSTANCE_ID_KEY = "volatile.cloud-init.instance-id";
/** Milliseconds for Incus to rename or start an instance. */
const DEADLINE = 120_000;

/**
 * Writes on the copy, before the source is stopped, what swap and undo will write: a project that does not allow it
 * refuses it now. All of it is replaced when the copy is dressed.
 * @throws VisibleError where the project refuses
 */
export async function rehearseSwap(move: Move, { instance, journal }: Seen<CopyJournal>): Promise<void> {
  try {
    await changeInstance(move.client, refOf(move, instance.name), (copy) => {
      requireMark(copy, journal);
      const uuid = randomUUID();
      const identity = { [UUID_KEY]: uuid, [GENERATION_KEY]: uuid, [INSTANCE_ID_KEY]: uuid };
      const parked = { "boot.autostart": "false", "snapshots.schedule.stopped": "false" };
      const own = journalEntry({ ...(readJournal(copy) as CopyJournal), uuid, generation: uuid });
      const [rootName, root] = rootDevice(copy);
      return {
        config: { ...parked, ...identity, ...own },
        devices: { [rootName]: root, "taos-rehearsal": { type: "none" } },
      };
    });
  } catch (error) {
    if (!isRefusedByProject(error)) throw error;
    throw new VisibleError(
      `The project "${move.request.project}" does not allow what the swap has to write: ${error.reason}. Allow it (incus project set ${move.request.project} restricted.containers.lowlevel=allow), then run again.`,
      { cause: error },
    );
  }
}

/** Takes addresses and autostart from the source and keeps what they were, in one write. The name is still its own. */
export async function parkSettings(move: Move, journal: SourceJournal, at: string): Promise<void> {
  await changeInstance(move.client, refOf(move, journal.name), (source) => {
    move.lease.assertHeld(source);
    // Somebody started it since it was compared: the next look sees that.
    if (source.status !== "Stopped") return undefined;
    const originals = journal.originals ?? originalsOf(source);
    const settings = parkedSettings(source);
    const record: ParkedRecord = {
      name: journal.name,
      project: journal.project,
      pool: journal.from,
      successorPool: journal.to,
      reason: "migrated",
      ...{ at, owner: journal.owner, wasRunning: journal.wasRunning, originals },
    };
    const next: SourceJournal = { ...journal, phase: "parking", originals };
    const own = { ...journalEntry(next), ...move.lease.entry(source), [PARKED_KEY]: JSON.stringify(record) };
    return { config: { ...settings.config, ...own }, devices: settings.devices ?? {} };
  });
}

/** Renames source or copy; Incus refuses while it runs. @throws VisibleError where it is another instance by now */
export async function rename(move: Move, { instance, journal }: Seen<Journal>, to: string): Promise<void> {
  const ref = refOf(move, instance.name);
  await exclusively(move.client, ref, async () => {
    const found = await findInstance(move.client, ref);
    if (!found) throw new VisibleError(`Instance "${ref.name}" of project "${ref.project}" is gone.`);
    requireMark(found.value, journal);
    await renameInstance(move.client, ref, to, { deadline: DEADLINE, signal: move.signal });
  });
}

/**
 * Gives the copy, now under the name, everything that the source was: settings, devices, profiles, identity. Incus
 * makes a new instance-id for cloud-init when settings change, so the identity is written last.
 */
export async function dressCopy(move: Move, source: Instance, journal: SourceJournal): Promise<Instance> {
  const originals = journal.originals ?? originalsOf(source);
  const ref = refOf(move, journal.name);
  const copied = await changeInstance(move.client, ref, (copy) => {
    requireMark(copy, { id: journal.id, role: "copy" });
    const [rootName, root] = rootDevice(copy);
    const dropped = Object.fromEntries(Object.keys(copy.config).map((key) => [key, ""]));
    return {
      config: {
        ...dropped,
        ...settingsFor(source, originals),
        ...keptDates(source, journal),
        ...power(journal),
        ...journalEntry({ ...(readJournal(copy) as CopyJournal), ...identityOf(source) }),
      },
      devices: { ...originals.devices, [rootName]: root },
      profiles: source.profiles,
      description: source.description,
      architecture: source.architecture,
    };
  });
  await move.reached("settings written");
  return changeInstance(move.client, ref, (copy) => {
    const dressed: CopyJournal = {
      role: "copy",
      ...{ id: journal.id, name: journal.name, from: journal.from, to: journal.to },
      ...{ ...identityOf(source), sourceUuid: journal.uuid },
      phase: "dressed",
      startedBy: move.lease.run,
    };
    const stale = copy.config["volatile.apply_template"] ? { "volatile.apply_template": "" } : {};
    return { config: { ...stale, ...identityConfig(originals, copied), ...journalEntry(dressed) } };
  });
}

/** Config of the source without our own keys, as it was before parking. */
function settingsFor(source: Instance, originals: Originals): Record<string, string> {
  const settings = { ...source.config, ...originals.config };
  const own = [JOURNAL_KEY, LEASE_KEY, PARKED_KEY];
  return Object.fromEntries(
    Object.entries(settings).filter(([key]) => !own.includes(key) && !key.endsWith(".host_name")),
  );
}

/** Lets Incus start it after a reboot of the host between here and our own start, as it would have the source. */
function power(journal: SourceJournal): Record<string, string> {
  return { "volatile.last_state.power": journal.wasRunning ? "RUNNING" : "STOPPED" };
}

function identityConfig(originals: Originals, current: Instance): Record<string, string> {
  const identity = Object.entries(originals.config).filter(([key]) => key.startsWith("volatile."));
  return Object.fromEntries(identity.filter(([key, value]) => value !== "" || current.config[key]));
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

function withoutIdentity(originals: Originals): Record<string, string> {
  const settings = Object.entries(originals.config);
  return Object.fromEntries(
    settings.filter(([key]) => !key.startsWith("volatile.") || key.endsWith(".hwaddr")),
  );
}

/** Incus gives the copy dates of its own. Those of the first migration count. */
function keptDates(source: Instance, journal: SourceJournal): Record<string, string> {
  return {
    [CREATED_AT_KEY]: source.config[CREATED_AT_KEY] ?? journal.createdAt,
    [LAST_USED_AT_KEY]: journal.lastUsedAt,
  };
}

/** Puts a source back to the settings it had before parking. Its name must be its own again. */
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
  // Changing NICs makes Incus invent a new instance-id, so the identity goes last.
  const finish = (identity: Record<string, string>): Promise<Instance> =>
    changeInstance(client, ref, (instance) => {
      const stale = instance.config["volatile.apply_template"] ? { "volatile.apply_template": "" } : {};
      return { config: { ...stale, ...identity, [PARKED_KEY]: "", ...last(instance) } };
    });
  try {
    await finish(identityConfig(originals, restored));
  } catch (error) {
    // A project may forbid keys of that level; the container runs without the old instance-id as well.
    if (!isRefusedByProject(error)) throw error;
    await finish({});
  }
}

/**
 * Takes the marks of a migration off an instance that was put back to a snapshot of that time, and gives it back the
 * settings that parking had changed. Where it is and whether it runs stays as it is: the restore decided that.
 */
export async function forgetMigration(move: Move, name: string, past: Journal): Promise<void> {
  const originals = past.role === "source" ? past.originals : undefined;
  await changeInstance(move.client, refOf(move, name), (instance) => {
    move.lease.assertHeld(instance);
    const marks = { [JOURNAL_KEY]: "", [PARKED_KEY]: "", [LEASE_KEY]: "" };
    if (!originals) return { config: marks };
    const [rootName, root] = rootDevice(instance);
    const devices = { ...originals.devices, [rootName]: root };
    return { config: { ...withoutIdentity(originals), ...marks }, devices };
  });
}

/** Starts an instance. Running already is fine: the daemon may have started it after a restart. @throws IncusApiError */
export async function startInstance(client: IncusClient, ref: InstanceRef): Promise<void> {
  await exclusively(client, ref, async () => {
    try {
      await setInstanceState(client, ref, { action: "start" }, { deadline: DEADLINE });
    } catch (error) {
      if (!(error instanceof IncusApiError)) throw error;
      if ((await findInstance(client, ref))?.value.status !== "Running") throw error;
    }
  });
}

/**
 * Takes everything from a copy but its root, so that the source can have its addresses back and the copy can be
 * deleted. Its journal stays.
 */
export async function undressCopy(move: Move, { instance, journal }: Seen<CopyJournal>): Promise<void> {
  await changeInstance(move.client, refOf(move, instance.name), (copy) => {
    requireMark(copy, journal);
    const [rootName, root] = rootDevice(copy);
    const dropped = Object.keys(copy.config).filter(
      (key) => key !== JOURNAL_KEY && !key.startsWith("volatile."),
    );
    const config = { ...Object.fromEntries(dropped.map((key) => [key, ""])), "boot.autostart": "false" };
    return { config, devices: { [rootName]: root }, profiles: [] };
  });
}
