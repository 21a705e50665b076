import { OWNER_KEY, RELEASED_KEY } from "./keys.ts";
/** True where the stack that made an object has forgotten it. */
export function isReleased(config: Record<string, string>): boolean {
  return (config[RELEASED_KEY] ?? "") !== "";
}

/**
 * The mark's value. Stack names are unique per project and backend, host and name within a stack.
 * Example: `taos-hosts/orchard/orange-1/taos-agent-iris`.
 */
export function ownerMark(project: string, stack: string, host: string, name: string): string {
  return [project, stack, host, name].join("/");
}

/** What an object's mark says to somebody who wants to act on it. */
export type Ownership = "ours" | "foreign" | "unowned";

export function ownershipOf(config: Record<string, string>, owner: string): Ownership {
  const mark = config[OWNER_KEY];
  if (mark === undefined || mark === "") return "unowned";
  return mark === owner ? "ours" : "foreign";
}

/** True where a mark is of the same stack and host as `owner`: another of the stack's resources wrote it. */
export function isOfSameStack(mark: string | undefined, owner: string): boolean {
  const stack = (text: string): string => text.split("/").slice(0, 3).join("/");
  return mark !== undefined && mark !== "" && stack(mark) === stack(owner);
}
