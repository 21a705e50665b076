import { isEncrypted } from "../config/stack-yaml.ts";

type Map = Readonly<Record<string, unknown>>;

/**
 * The one merge rule of a fleet file: maps merge key by key; everything else (a list, a text, a number, an encrypted
 * value, nothing at all) is replaced by what the host says. Pure; neither argument is changed.
 */
export function merge(defaults: unknown, own: unknown): unknown {
  if (!isMap(defaults) || !isMap(own)) return own;
  return Object.fromEntries([
    ...Object.entries(defaults).filter(([key]) => !Object.hasOwn(own, key)),
    ...Object.entries(own).map(([key, value]): [string, unknown] => [
      key,
      Object.hasOwn(defaults, key) ? merge(defaults[key], value) : value,
    ]),
  ]);
}

/** An encrypted value looks like a map with one key, and is a value. */
function isMap(value: unknown): value is Map {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !isEncrypted(value);
}
