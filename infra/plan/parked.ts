import { type InstanceLook, migrationMarkOf, parkedMarkOf } from "@taos-hosts/providers";

/** The name of the container whose kept source this is; null for every other instance. */
export function parkedOf(instance: Pick<InstanceLook, "name" | "config">): string | null {
  return parkedMarkOf(instance)?.name ?? null;
}

/** The name of the container whose migration under way this instance belongs to; null where there is none. */
export function migrationOf(instance: Pick<InstanceLook, "name" | "config">): string | null {
  return migrationMarkOf(instance) ?? null;
}
