import { z } from "zod";
import type { IncusClient } from "../incus/client.ts";
import { api } from "../incus/paths.ts";
import { Instance } from "../incus/schemas.ts";
import { standingOf } from "../marks/identity.ts";
import { type CopyJournal, type Journal, readJournal, type SourceJournal } from "../marks/journal.ts";
import { parkedRecordOf } from "../marks/parked-record.ts";

/** A container as far as a migration looks at it. */
export interface Seen<J> {
  instance: Instance;
  running: boolean;
  journal: J;
}

/** What the host shows of one container and its migration. */
export interface Observation {
  /** The instance under the container's name, whatever it is. */
  named: Instance | undefined;
  /** The instance that holds the data from before the migration. */
  source: Seen<SourceJournal> | undefined;
  copy: Seen<CopyJournal> | undefined;
  /** The parked source of a migration that has ended: what an undo goes back to. */
  kept: Instance | undefined;
  /** An instance with a journal from before a snapshot of it was restored: nothing that it says holds any more. */
  past: Seen<Journal> | undefined;
}

/** Instances of one project, one request. */
export function listProjectInstances(client: IncusClient, project: string): Promise<Instance[]> {
  return client.get(api("instances"), z.array(Instance), { query: { project, recursion: 1 } });
}

/** Looks at the host. Finds source and copy by their journals, so also under their other names. */
export async function observe(client: IncusClient, project: string, name: string): Promise<Observation> {
  return observationOf(await listProjectInstances(client, project), name);
}

/** The part of `instances` that concerns the container `name`. */
export function observationOf(instances: readonly Instance[], name: string): Observation {
  const result: Observation = {
    ...{ named: undefined, source: undefined, copy: undefined, past: undefined, kept: undefined },
  };
  for (const instance of instances) {
    if (instance.name === name) result.named = instance;
    const record = parkedRecordOf(instance);
    if (record?.name === name && record.reason === "migrated" && instance.name !== name)
      result.kept = instance;
    const journal = journalOf(instance, name);
    if (journal === undefined || journal.name !== name) continue;
    const running = instance.status !== "Stopped";
    const standing = standingOf(instance, journal);
    if (standing === "foreign") continue;
    if (standing === "past") result.past = { instance, running, journal };
    else if (journal.role === "source") result.source = { instance, running, journal };
    else result.copy = { instance, running, journal };
  }
  return result;
}

/** A journal that cannot be read stops the container it is on, and no other. */
function journalOf(instance: Instance, name: string): Journal | undefined {
  try {
    return readJournal(instance);
  } catch (error) {
    if (instance.name === name) throw error;
    return undefined;
  }
}
