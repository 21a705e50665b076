import type { PoolWish } from "@taos-hosts/providers";
import type { HostConfig } from "./config.ts";

/** What a new host's pool is called. */
export const USUAL_POOL = "default";

/**
 * The pools that a host's config asks for, for planner and resources alike. As soon as a container is to be migrated
 * there is a second one beside the named pool; it serves only where that is not copy-on-write itself.
 */
export function poolWishes({ pool, optIn }: HostConfig): { main: PoolWish; cow?: PoolWish } {
  const { name = USUAL_POOL, driver, source, size } = pool;
  const named = { name, isUnnamed: pool.name === undefined };
  if (optIn.migrate.length === 0) return { main: { ...named, driver, source, size } };
  const cowDriver = driver === "dir" ? "auto" : driver;
  return {
    // A pool that containers are being moved off keeps its driver: the wish for another one is the second pool's.
    main: { ...named, driver: driver === "dir" ? "dir" : "auto", source, size },
    cow: { ...named, name: `${name}-cow`, driver: cowDriver, source, size, insteadOf: name },
  };
}
