import type { InstanceLook } from "@taos-hosts/providers";
import { z } from "zod";

/** Config key on a kept source (see providers/migration/names.ts). */
const PARKED_KEY = "user.taos.parked";

/** Config key with the journal of a migration, on source and copy (see providers/migration/names.ts). */
const JOURNAL_KEY = "user.taos.migration";

const Mark = z.object({ name: z.string().min(1) });

/** The name of the container whose kept source this is; null for every other instance. */
export function parkedOf(instance: Pick<InstanceLook, "name" | "config">): string | null {
  const name = nameInMark(instance.config[PARKED_KEY] ?? "");
  return name === undefined || name === instance.name ? null : name;
}

/** The name of the container whose migration under way this instance belongs to; null where there is none. */
export function migrationOf(instance: Pick<InstanceLook, "name" | "config">): string | null {
  const journal = instance.config[JOURNAL_KEY];
  if (journal === undefined || journal === "") return null;
  return nameInMark(journal) ?? instance.name;
}

function nameInMark(mark: string): string | undefined {
  try {
    const parsed = Mark.safeParse(JSON.parse(mark));
    return parsed.success ? parsed.data.name : undefined;
  } catch {
    return undefined;
  }
}
