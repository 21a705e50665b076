import { type MarkChange, renamed } from "@taos-hosts/providers";

/** A host of the config under its new name. */
export interface HostRename extends MarkChange {
  /** Names of the host. */
  before: string;
  after: string;
}

/** What a resource was given and has become: text of the user, apart from the mark and the host's name at its top. */
const VALUES = new Set(["inputs", "outputs"]);

/**
 * An exported state of Pulumi with other marks, URNs and host names, and nothing else changed. Pure; the same for a
 * state that has been renamed already.
 */
export function renamedState(state: unknown, hosts: readonly HostRename[]): unknown {
  if (Array.isArray(state)) return state.map((item) => renamedState(item, hosts));
  if (typeof state === "string") return renamedUrn(state, hosts);
  if (!isObject(state)) return state;
  return mapped(state, (value, key) =>
    VALUES.has(key) && isObject(value) ? renamedValues(value, hosts) : renamedState(value, hosts),
  );
}

function renamedValues(values: Record<string, unknown>, hosts: readonly HostRename[]): unknown {
  return mapped(values, (value, key) => {
    if (key === "owner" && typeof value === "string") {
      return hosts.map((change) => renamed(value, change)).find((mark) => mark !== undefined) ?? value;
    }
    if (key === "host" && isObject(value)) {
      const host = hosts.find(({ before }) => before === value["name"]);
      return host ? { ...value, name: host.after } : value;
    }
    return value;
  });
}

/** The last part of a URN is `<host>/<name>`, or the host itself for its component. */
function renamedUrn(text: string, hosts: readonly HostRename[]): string {
  if (!text.startsWith("urn:pulumi:")) return text;
  for (const { before, after } of hosts) {
    if (before === after) continue;
    if (text.includes(`::${before}/`)) return text.replace(`::${before}/`, `::${after}/`);
    if (text.endsWith(`taos-hosts:infra:Host::${before}`)) return `${text.slice(0, -before.length)}${after}`;
  }
  return text;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function mapped(
  object: Record<string, unknown>,
  change: (value: unknown, key: string) => unknown,
): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value, key)]));
}
