import { cowName, type PoolWish } from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";

/** What a new host's pool is called. */
export const USUAL_POOL = "default";

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
  const named = { name, isUnnamed: pool.name === undefined };
  if (!(pool.cow ?? (optIn.migrate.length > 0 || hasTwin)))
    return { main: { ...named, driver, source, size } };
  const cowDriver = driver === "dir" ? "auto" : driver;
  return {
    // A pool that containers are being moved off keeps its driver: the wish for another one is the second pool's.
    main: { ...named, driver: driver === "dir" ? "dir" : "auto", source, size },
    cow: { ...named, name: cowName(name), driver: cowDriver, source, size, insteadOf: name },
  };
}
