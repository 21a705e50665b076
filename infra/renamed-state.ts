import { type MarkChange, renamed } from "@taos-hosts/providers";

/** A host of the config under its new name. */
export interface HostRename extends MarkChange {
  /** Names of the host. */
  before: string;
  after: string;
}

/**
 * An exported state of Pulumi with other marks and host names, and nothing else changed. Pure; the same for a state
 * that has been renamed already.
 */
export function renamedState(state: unknown, hosts: readonly HostRename[]): unknown {
  if (Array.isArray(state)) return state.map((item) => renamedState(item, hosts));
  if (typeof state === "string") return renamedText(state, hosts);
  if (typeof state !== "object" || state === null) return state;
  return Object.fromEntries(
    Object.entries(state).map(([key, value]) => {
      if (key === "host" && typeof value === "object" && value !== null && "name" in value) {
        const host = hosts.find(({ before }) => before === value.name);
        if (host) return [key, { ...value, name: host.after }];
      }
      return [key, renamedState(value, hosts)];
    }),
  );
}

/** A mark, or a URN: its last part is `<host>/<name>`, or the host itself for its component. */
function renamedText(text: string, hosts: readonly HostRename[]): string {
  for (const { before, after, ...change } of hosts) {
    const mark = renamed(text, change);
    if (mark !== undefined) return mark;
    if (before === after || !text.startsWith("urn:pulumi:")) continue;
    if (text.includes(`::${before}/`)) return text.replace(`::${before}/`, `::${after}/`);
    if (text.endsWith(`taos-hosts:infra:Host::${before}`)) return `${text.slice(0, -before.length)}${after}`;
  }
  return text;
}
