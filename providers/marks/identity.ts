import { z } from "zod";
import { JOURNAL_KEY, OWNER_KEY, PARKED_KEY } from "./keys.ts";

/** Config key of Incus' own: one instance for good, kept by renames and restores, new with every copy. */
export const UUID_KEY = "volatile.uuid";
/** Config key of Incus' own: new whenever an instance goes back in time, which is at every restore of a snapshot. */
export const GENERATION_KEY = "volatile.uuid.generation";

/**
 * The instance that a mark was written for. Incus carries `user.*` keys along with every copy, snapshot, restore and
 * export, so a mark alone proves nothing. A restore gives an instance the uuid that the snapshot has, also that of
 * the instance it was copied from; only the generation tells.
 */
export const Identity = z.object({
  uuid: z.string(),
  /** Absent in marks that 0.1 wrote. */
  generation: z.string().optional(),
});
export type Identity = z.infer<typeof Identity>;

/**
 * What a mark says of the instance it stands on. `own`: it was written for it. `past`: written for it, or for the one
 * it is a copy of, before a snapshot was restored. `foreign`: it came along with a copy.
 */
export type Standing = "own" | "past" | "foreign";

/** An instance of the API or of a look, as far as marks go. */
export interface Marked {
  name: string;
  config: Record<string, string>;
}

/** The identity of an instance at this moment. */
export function identityOf(instance: Pick<Marked, "config">): Required<Identity> {
  return { uuid: instance.config[UUID_KEY] ?? "", generation: instance.config[GENERATION_KEY] ?? "" };
}

/** The identity that a mark names, as it was read. */
type Named = { [K in keyof Identity]?: string | undefined };

/** How a mark that names `named` stands on an instance. A mark of 0.1 that names nobody counts. */
export function standingOf(instance: Pick<Marked, "config">, named: Named): Standing {
  if (named.uuid === undefined) return "own";
  const { uuid, generation } = identityOf(instance);
  if (named.uuid !== uuid) return "foreign";
  return named.generation === undefined || named.generation === generation ? "own" : "past";
}

const JournalMark = z.object({ name: z.string().min(1), ...Identity.partial().shape });
const ParkedMark = z.object({
  name: z.string().min(1),
  reason: z.string().optional(),
  at: z.string().optional(),
  owner: z.string().optional(),
  originals: z.object({ config: z.record(z.string(), z.string()) }).optional(),
});

/** The container whose migration under way an instance belongs to, by its journal (`user.taos.migration`). */
export function migrationMarkOf(instance: Marked): string | undefined {
  const text = instance.config[JOURNAL_KEY];
  if (!text) return undefined;
  const mark = parse(text, JournalMark);
  // What cannot be read stops the container it is on.
  if (!mark) return instance.name;
  const standing = standingOf(instance, mark);
  return standing === "own" || (standing === "past" && mark.name === instance.name) ? mark.name : undefined;
}

/** The container that an instance was put aside for, why and when, by its record (`user.taos.parked`). */
export function parkedMarkOf(
  instance: Marked,
): { name: string; reason?: string | undefined; at?: string | undefined } | undefined {
  const mark = parse(instance.config[PARKED_KEY] ?? "", ParkedMark);
  if (!mark || mark.name === instance.name) return undefined;
  return standingOf(instance, parkedIdentity(mark.originals?.config)) === "own" ? mark : undefined;
}

/**
 * Whether the instance under a container's name is the one that took over from a parked one: after a migration by the
 * uuid, which the copy got from its source; after a replacement, where it is a new one, by the stack's mark.
 */
export function isSuccessor(named: Pick<Marked, "config">, parked: Pick<Marked, "config">): boolean {
  const mark = parse(parked.config[PARKED_KEY] ?? "", ParkedMark);
  if (mark?.reason === "replaced")
    return [mark.owner, parked.config[OWNER_KEY]].includes(named.config[OWNER_KEY]);
  const { uuid } = parkedIdentity(mark?.originals?.config);
  return uuid === undefined || uuid === identityOf(named).uuid;
}

/** The identity that a record of a parking names: that of the instance before it was parked, which it kept. */
export function parkedIdentity(config: Record<string, string> | undefined): Named {
  return { uuid: config?.[UUID_KEY], generation: config?.[GENERATION_KEY] };
}

function parse<S extends z.ZodType>(text: string, schema: S): z.output<S> | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
