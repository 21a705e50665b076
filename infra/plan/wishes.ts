import { cowName, type PoolWish } from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";

/** What a new host's pool is called. */
export const USUAL_POOL = "default";

/** Bridge that a new host gets. taOS' firewall rules name it. */
const USUAL_BRIDGE = "incusbr0";

/** The bridge of a host, for planner and resources alike: without a word in the config it is made only where needed. */
export function bridgeWish({ bridge }: HostConfig): { name: string; ifNeeded: boolean } {
  return { name: bridge ?? USUAL_BRIDGE, ifNeeded: bridge === undefined };
}

/**
 * The pools that a host's config asks for, for planner and resources alike. There is a second one beside the named
 * pool while a container is to be migrated, where the config says so for good (`pool.cow`), and where an earlier
 * migration of this stack has made it: an opt-in permits a change, and is not where the result is remembered. It
 * serves only where the named pool is not copy-on-write itself.
 * @param hasTwin whether the second pool is on the host and this stack's
 */
export function poolWishes(
  { pool, optIn }: HostConfig,
  hasTwin: boolean,
): { main: PoolWish; cow?: PoolWish } {
  const { name = USUAL_POOL, driver, source, size } = pool;
  const main = { name, isUnnamed: pool.name === undefined, driver, source, size };
  if (!(pool.cow ?? (optIn.migrate.length > 0 || hasTwin))) return { main };
  return {
    // A pool that containers are being moved off keeps its driver: the wish for another one is the second pool's.
    main: { ...main, driver: driver === "dir" ? "dir" : "auto" },
    cow: { ...main, name: cowName(name), driver: driver === "dir" ? "auto" : driver, insteadOf: name },
  };
}
