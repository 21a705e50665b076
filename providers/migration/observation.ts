import { z } from "zod";
import type { IncusClient } from "../incus/client.ts";
import { findInstance } from "../incus/instances.ts";
import { api } from "../incus/paths.ts";
import { Instance } from "../incus/schemas.ts";
import { standingOf, UUID_KEY } from "../marks/identity.ts";
import { type CopyJournal, type Journal, readJournal, type SourceJournal } from "../marks/journal.ts";
import { copyName, parkedName, undoneName } from "../marks/made-names.ts";
import { parkedRecordOf } from "../marks/parked-record.ts";
import { type Move, refOf } from "./move.ts";

/** A container as far as a migration looks at it. */
export interface Seen<J> {
  instance: Instance;
  running: boolean;
  journal: J;
}

/** What the host shows of one container and its migration. */
export interface Observation {
  /** The instance under the container's name, whatever it is. */
  named?: Instance;
  /** The instance that holds the data from before the migration. */
  source?: Seen<SourceJournal>;
  copy?: Seen<CopyJournal>;
  /** The parked source of a migration that has ended: what an undo goes back to. */
  kept?: Instance;
  /** An instance with a journal from before a snapshot of it was restored: nothing that it says holds any more. */
  past?: Seen<Journal>;
}

/** Instances of one project, one request. */
export function listProjectInstances(client: IncusClient, project: string): Promise<Instance[]> {
  return client.get(api("instances"), z.array(Instance), { query: { project, recursion: 1 } });
}

/** Looks at the host. Finds source and copy by their journals, so also under their other names. */
export async function observe({ client, request }: Move): Promise<Observation> {
  return observationOf(await listProjectInstances(client, request.project), request.name);
}

/**
 * Looks again: by name where the names are known, which is a fraction of listing all instances. Source and copy may
 * have been renamed by hand, before or since: where one is not found any more, all instances are looked through.
 */
export async function observeAgain(move: Move, before: Observation): Promise<Observation> {
  const { name } = move.request;
  const uuid = before.source?.journal.uuid ?? before.named?.config[UUID_KEY];
  if (!uuid) return observe(move);
  const derived = [copyName(name, uuid), parkedName(name, uuid), undoneName(name, uuid)];
  const { copy, parked } = before.source?.journal ?? {};
  const known = [before.source, before.copy, before.past].map((one) => one?.instance.name);
  const names = new Set([name, ...derived, copy, parked, ...known].filter((one) => one !== undefined));
  const found = await Promise.all([...names].map((one) => findInstance(move.client, refOf(move, one))));
  const seen = observationOf(
    found.flatMap((one) => one?.value ?? []),
    name,
  );
  const isMissing = (before.source && !seen.source) || (before.copy && !seen.copy);
  return isMissing ? observe(move) : seen;
}

/** The part of `instances` that concerns the container `name`. */
export function observationOf(instances: readonly Instance[], name: string): Observation {
  const result: Observation = {};
  for (const instance of instances) {
    if (instance.name === name) result.named = instance;
    const record = parkedRecordOf(instance);
    if (record?.name === name && record.reason === "migrated" && instance.name !== name)
      result.kept = instance;
    const journal = journalOf(instance, name);
    const standing = journal && standingOf(instance, journal);
    if (journal?.name !== name || standing === "foreign") continue;
    const running = instance.status !== "Stopped";
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
