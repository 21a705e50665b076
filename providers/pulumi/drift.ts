import { isDeepStrictEqual } from "node:util";

/** Keys whose values are secrets: a difference is told without them. */
const SECRET_KEY =
  /^(environment\.|user\.taos\.files$|cloud-init\.|user\.user-data|user\.vendor-data|user\.network-config|systemd\.credential)|token|secret|passw|key/i;

/**
 * Differences between what was set and what is on the host, for the keys that were set. Values of secret keys never
 * appear, nor do any where `areSecret` is set. Examples: `limits.memory is 1GiB, not 2GiB`, `environment.TOKEN differs`, `device data is missing`.
 */
export function configDrift(
  wanted: Record<string, string>,
  live: Record<string, string>,
  areSecret = false,
): string[] {
  return Object.entries(wanted).flatMap(([key, value]) => {
    // Incus keeps no key without a value.
    const seen = live[key] ?? (value === "" ? "" : undefined);
    if (seen === value) return [];
    if (areSecret || SECRET_KEY.test(key))
      return [seen === undefined ? `${key} is missing` : `${key} differs`];
    return [seen === undefined ? `${key} is missing` : `${key} is ${seen}, not ${value}`];
  });
}

/** The same for devices: missing ones, and keys of them that differ. */
export function deviceDrift(
  wanted: Record<string, Record<string, string>>,
  live: Record<string, Record<string, string>>,
  areSecret = false,
): string[] {
  return Object.entries(wanted).flatMap(([name, device]) => {
    const seen = live[name];
    if (!seen) return [`device ${name} is missing`];
    return configDrift(device, seen, areSecret).map((difference) => `device ${name}: ${difference}`);
  });
}

/** Names of the fields in which two sets of args differ, apart from `except`. */
export function changedFields<T extends object>(
  before: object,
  after: T,
  except: readonly (keyof T)[] = [],
): (keyof T)[] {
  const keys = new Set<keyof T>(Object.keys(after) as (keyof T)[]);
  return [...keys].filter(
    (key) =>
      !except.includes(key) && !isDeepStrictEqual(normalize(Reflect.get(before, key)), normalize(after[key])),
  );
}

function normalize(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}
