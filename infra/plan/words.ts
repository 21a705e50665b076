import { nearestNames, type Problem } from "@taos-hosts/providers";

/** Names that a sentence holds; more are counted only. */
export const MOST_NAMED = 6;

/** What waits for the host's pool, of which something is said itself. */
export const WAITS_FOR_POOL: Problem = {
  reason: "it waits for the pool",
  remedy: "See what is said of the pool.",
};

/** The start of a remedy: `On the host: a, b. `, the names nearest to a wrong one; empty where none is near. */
export function nearest(where: string, wrong: string, names: readonly string[]): string {
  const near = nearestNames(wrong, names);
  return near.length > 0 ? `${where}: ${near.join(", ")}. ` : "";
}
