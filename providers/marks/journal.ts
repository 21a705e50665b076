import { z } from "zod";
import { messageOf, VisibleError } from "../common/errors.ts";
import { Identity, type Marked, standingOf } from "./identity.ts";
import { JOURNAL_KEY, LEASE_KEY } from "./keys.ts";

/**
 * What parking changes on an instance and needs to be put back: on the copy when it takes over, on the instance
 * itself when it comes back. Keys with an empty value were unset.
 */
export const Originals = z.object({
  config: z.record(z.string(), z.string()),
  /** Local devices as they were, all of them. */
  devices: z.record(z.string(), z.record(z.string(), z.string())),
});
export type Originals = z.infer<typeof Originals>;

/**
 * Journal on the source. `copying`: nothing but copies has been made. `stopping`: the live copy is close, the source
 * is to be stopped. `parking`: the copy is verified, the source gives up name, addresses and autostart.
 */
export const SourceJournal = z.object({
  role: z.literal("source"),
  /** Of this migration; the copy carries the same. */
  id: z.string(),
  phase: z.enum(["copying", "stopping", "parking"]),
  project: z.string(),
  /** The name that source and, later, copy go by. */
  name: z.string(),
  copy: z.string(),
  parked: z.string(),
  /** Pools. */
  from: z.string(),
  to: z.string(),
  /** The source's own, as in `Identity`. */
  ...Identity.shape,
  /** What was running runs afterwards; what was stopped stays stopped. */
  wasRunning: z.boolean(),
  /** IPv4 addresses on the container's NICs before the stop; the copy must come up with the same. */
  addresses: z.array(z.string()),
  /** Of the source, as Incus gives them: ISO 8601. */
  createdAt: z.string(),
  lastUsedAt: z.string(),
  /** When the migration began, ISO 8601 by the clock of the machine that runs it. */
  startedAt: z.string(),
  /** Seconds since 1970 by the host's clock: what changed before is in the copy by content, not only by size and date. */
  copiedSince: z.number(),
  owner: z.string(),
  originals: Originals.optional(),
  /** Set once the migration is to be taken back. `keeps`: long after its end, so the copy is parked, not deleted. */
  undo: z.object({ reason: z.string(), run: z.string(), keeps: z.boolean().optional() }).optional(),
});
export type SourceJournal = z.infer<typeof SourceJournal>;

/**
 * Journal on the copy. `seeding`: being made, of no worth. `seeded`: holds a first full copy and all snapshots.
 * `verified`: equal to the stopped source. `dressed`: has config, devices and identity of the source. `healthy`: proven.
 * `returning`: has been the container for a while, and its kept source is to be it again.
 */
export const CopyJournal = z.object({
  role: z.literal("copy"),
  id: z.string(),
  phase: z.enum(["seeding", "seeded", "verified", "dressed", "healthy", "returning"]),
  name: z.string(),
  /** Pool of the source. */
  from: z.string(),
  to: z.string(),
  /** The copy's own, as in `Identity`: once it is dressed, that of the source. */
  ...Identity.partial().shape,
  /** `volatile.uuid` of the source. */
  sourceUuid: z.string().optional(),
  /** Whether the source ran when the migration began: where its own journal is lost, somebody has to start it. */
  wasRunning: z.boolean().optional(),
  /** What `verified` holds for: that run, and the source not started since. */
  verified: z.object({ run: z.string(), lastUsedAt: z.string() }).optional(),
  /** The run that starts it. Only that one may take it back after a failing health proof. */
  startedBy: z.string().optional(),
});
export type CopyJournal = z.infer<typeof CopyJournal>;

const Journal = z.discriminatedUnion("role", [SourceJournal, CopyJournal]);
export type Journal = z.infer<typeof Journal>;

/**
 * The journal on an instance, if it has one.
 * @throws VisibleError where the key holds something else; guessing could lose data
 */
export function readJournal(instance: Marked): Journal | undefined {
  const text = instance.config[JOURNAL_KEY];
  if (text === undefined || text === "") return undefined;
  try {
    return Journal.parse(JSON.parse(text));
  } catch (error) {
    throw new VisibleError(
      `Instance "${instance.name}" carries a migration journal (${JOURNAL_KEY}) that cannot be read: ${error instanceof z.ZodError ? (error.issues[0]?.message ?? "") : messageOf(error)}. A newer taos-hosts may have written it: run that one, nothing has been changed.`,
    );
  }
}

/**
 * Proves, at the moment of deleting, renaming or dressing an instance, that it is the one that a journal is about: it
 * carries a journal of that migration and role, written for this very instance.
 * @throws VisibleError where it does not; nothing has been done to it
 */
export function requireMark(instance: Marked, expected: Pick<Journal, "id" | "role">): void {
  const now = readJournal(instance);
  if (now?.id === expected.id && now.role === expected.role && standingOf(instance, now) === "own") return;
  throw new VisibleError(
    `Instance "${instance.name}" is not the ${expected.role} of this migration any more: it was renamed, copied or put back to a snapshot meanwhile. Nothing was done to it. Run again.`,
  );
}

/** The config entry that stores a journal. */
export function journalEntry(journal: Journal): Record<string, string> {
  return { [JOURNAL_KEY]: JSON.stringify(journal) };
}

/** Config that takes journal and lease off an instance. */
export const NO_JOURNAL = { [JOURNAL_KEY]: "", [LEASE_KEY]: "" };
