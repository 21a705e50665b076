/*
 * Every config key that taos-hosts writes: on what, its value, who writes and who reads it, and when it counts. Incus
 * carries `user.*` keys along with every copy, snapshot, restore and export: a key that stands on an instance counts
 * for that instance only where its value names it (identity.ts).
 */

/**
 * On all that a stack creates: whose it is (ownership.ts). Value: `project/stack/host/name`. Written by each resource's
 * creation and by `npm run rename`; read by each resource, planner and policy.
 */
export const OWNER_KEY = "user.taos.owner";

/**
 * On a pool or network that left the config while it was in use, and so was left in place: the stack has forgotten it,
 * and will not delete it later, though the mark still says who made it. Value: `true`. Gone once it is named again.
 */
export const RELEASED_KEY = "user.taos.released";

/** On an instance while it is being made or replaced; what is found with it was not finished. Value: `NEW`, `BEING_REPLACED`. */
export const STAGE_KEY = "user.taos.stage";
/** Stage of an instance that was never ready: what the creation left may be cleared away. */
export const NEW = "new";
/** Stage of an instance that is being replaced, until its successor is ready. It holds the data. */
export const BEING_REPLACED = "replacing";

/** On an instance of a stack: the image alias it was made from. Written with it, read by the planner. */
export const IMAGE_KEY = "user.taos.image";
/** On an instance of a stack: `true` where no run may delete or replace it. Read by provider and planner. */
export const PROTECTED_KEY = "user.taos.protected";
/** On an instance of a stack: digests of the files that were written, by path (`filesMark`). */
export const FILES_KEY = "user.taos.files";
/** On an instance of a stack: names (never values) of what was set; what the config no longer sets shows by it. */
export const SET_KEY = "user.taos.set";

/** On a profile: names of devices that were added to it once, so that one taken out by hand is not put back. */
export const DEVICES_KEY = "user.taos.devices";

/** On the source and the copy of a migration under way: its journal (journal.ts). Counts by the identity in it. */
export const JOURNAL_KEY = "user.taos.migration";
/** On the source of a migration: the run that works on it, and its signs of life (migration/record/lease.ts). */
export const LEASE_KEY = "user.taos.lease";
/** On a parked instance: what it was and how to bring it back (parked-record.ts). Counts by the identity in it. */
export const PARKED_KEY = "user.taos.parked";
/** On an instance that was migrated: when it was created, which Incus cannot carry to another one. ISO 8601. */
export const CREATED_AT_KEY = "user.taos.created-at";
/** The same for when it was last used. */
export const LAST_USED_AT_KEY = "user.taos.last-used-at";

/** On the server, followed by a pool's name: the journal of its recreation, which outlives the pool (pool/recreation.ts). */
export const RECREATION_PREFIX = "user.taos.recreate.";

/** Names of the pools whose recreation was begun and not ended, by the server's config. */
export function recreationsIn(config: Record<string, string>): string[] {
  return Object.keys(config)
    .filter((key) => key.startsWith(RECREATION_PREFIX))
    .map((key) => key.slice(RECREATION_PREFIX.length));
}

/** Names of the devices that were added to a profile once (`DEVICES_KEY`). */
export function addedDevices(profile: { config: Record<string, string> }): string[] {
  return (profile.config[DEVICES_KEY] ?? "").split(",").filter((name) => name !== "");
}
