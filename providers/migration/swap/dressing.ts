import { randomUUID } from "node:crypto";
import { isRefusedByProject, VisibleError } from "../../common/errors.ts";
import { changeInstance } from "../../incus/instance-patch.ts";
import { rootDevice } from "../../incus/root-device.ts";
import type { Instance } from "../../incus/schemas.ts";
import { GENERATION_KEY, identityOf, UUID_KEY } from "../../marks/identity.ts";
import {
  type CopyJournal,
  journalEntry,
  readJournal,
  requireMark,
  type SourceJournal,
} from "../../marks/journal.ts";
import { CREATED_AT_KEY, JOURNAL_KEY, LAST_USED_AT_KEY, LEASE_KEY, PARKED_KEY } from "../../marks/keys.ts";
import { identityConfig, originalsOf } from "../../marks/parked-record.ts";
import { type Move, refOf } from "../move.ts";
import type { Seen } from "../observation.ts";

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
      const own = journalEntry({ ...(readJournal(copy) as CopyJournal), uuid, generation: uuid });
      const [rootName, root] = rootDevice(copy);
      return {
        config: {
          ...{ "boot.autostart": "false", "snapshots.schedule.stopped": "false" },
          ...{ [UUID_KEY]: uuid, [GENERATION_KEY]: uuid, "volatile.cloud-init.instance-id": uuid },
          ...own,
        },
        devices: { [rootName]: root, "taos-rehearsal": { type: "none" } },
      };
    });
  } catch (error) {
    if (!isRefusedByProject(error)) throw error;
    const { project } = move.request;
    throw new VisibleError(
      `The project "${project}" does not allow what the swap has to write: ${error.reason}. Allow it (incus project set ${project} restricted.containers.lowlevel=allow), then run again.`,
      { cause: error },
    );
  }
}

/**
 * Gives the copy, now under the name, everything that the source was: settings, devices, profiles, and last its
 * identity.
 */
export async function dressCopy(move: Move, { instance, journal }: Seen<SourceJournal>): Promise<void> {
  const { id, name, from, to, wasRunning, originals = originalsOf(instance) } = journal;
  const identity = identityOf(instance);
  const ref = refOf(move, name);
  const settled = await changeInstance(move.client, ref, (copy) => {
    requireMark(copy, { id, role: "copy" });
    const [rootName, root] = rootDevice(copy);
    return {
      config: {
        ...removing(Object.keys(copy.config)),
        ...settingsOf(instance),
        ...originals.config,
        // Incus gives the copy dates of its own. Those of the first migration count.
        [CREATED_AT_KEY]: instance.config[CREATED_AT_KEY] ?? journal.createdAt,
        [LAST_USED_AT_KEY]: journal.lastUsedAt,
        // Lets Incus start it after a reboot of the host between here and our own start, as it would have the source.
        "volatile.last_state.power": wasRunning ? "RUNNING" : "STOPPED",
        ...journalEntry({ ...(readJournal(copy) as CopyJournal), ...identity }),
      },
      devices: { ...originals.devices, [rootName]: root },
      profiles: instance.profiles,
      description: instance.description,
      architecture: instance.architecture,
    };
  });
  await move.reached("settings written");
  const run = { sourceUuid: journal.uuid, startedBy: move.lease.run };
  const dressed: CopyJournal = { role: "copy", id, phase: "dressed", name, from, to, ...identity, ...run };
  await changeInstance(move.client, ref, (copy) => ({
    config: { ...identityConfig(originals, settled, copy), ...journalEntry(dressed) },
  }));
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
    const config = { ...removing(dropped), "boot.autostart": "false" };
    return { config, devices: { [rootName]: root }, profiles: [] };
  });
}

function removing(keys: readonly string[]): Record<string, string> {
  return Object.fromEntries(keys.map((key) => [key, ""]));
}

/** Config of an instance without our own keys. */
function settingsOf({ config }: Instance): Record<string, string> {
  const own = [JOURNAL_KEY, LEASE_KEY, PARKED_KEY];
  return Object.fromEntries(
    Object.entries(config).filter(([key]) => !own.includes(key) && !key.endsWith(".host_name")),
  );
}
