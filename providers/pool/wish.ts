import { cowName } from "../common/names.ts";
import { isOfSameStack } from "../marks/ownership.ts";
import { isCopyOnWrite, type WantedDriver } from "./drivers.ts";

/** The wish: one pool of the stack config. Sizes in bytes. */
export interface PoolWish {
  name: string;
  driver: WantedDriver;
  /** `loop`, a block device `/dev/…`, or a path on btrfs. */
  source: string;
  size?: number | undefined;
  /** Set for the second pool beside a `dir` pool: use that pool itself where it is copy-on-write already. */
  insteadOf?: string | undefined;
  /** The config names no pool: `settleWish` finds the one that is meant. */
  isUnnamed?: boolean | undefined;
}

/** A wish with the pool's real name. */
export type SettledWish<W extends PoolWish = PoolWish> = W & {
  /** The name is the default profile's, not the config's: the pool is used or left, and never made anew. */
  isByProfile?: boolean;
};

/** What of a host says which pool is meant. */
export interface PoolWorld {
  /** `owner` is the ownership mark; null where there is none. */
  pools: readonly { name: string; driver: string; owner: string | null }[];
  /** Pool of the default profile's root disk; null where it has none. */
  rootPool: string | null;
}

/**
 * The wish with the names that it means on this host. A pool that the config does not name is the one that the default
 * profile has: nobody asked for another one beside it.
 * @param owner any ownership mark of this stack and host
 */
export function settleWish<W extends PoolWish>(wish: W, world: PoolWorld, owner: string): SettledWish<W> {
  if (!wish.isUnnamed) return wish;
  const usual = wish.insteadOf ?? wish.name;
  const main = meantPool(usual, world, owner);
  if (main === usual) return wish;
  return wish.insteadOf === undefined
    ? { ...wish, name: main, isByProfile: true }
    : { ...wish, name: cowName(main), insteadOf: main };
}

function meantPool(usual: string, { pools, rootPool }: PoolWorld, owner: string): string {
  if (rootPool === null) return usual;
  const made = pools.find(({ name }) => name === usual)?.owner;
  if (made && isOfSameStack(made, owner)) return usual;
  // A profile that was re-pointed by a migration: what was moved off is still the pool that is meant.
  const before = pools.find(({ name, driver }) => cowName(name) === rootPool && !isCopyOnWrite(driver));
  return before?.name ?? rootPool;
}

/** Name of the pool that serves a settled wish: its own, or `insteadOf` where that is copy-on-write already. */
export function servingPool(wish: PoolWish, pools: PoolWorld["pools"]): string {
  const original = pools.find(({ name }) => name === wish.insteadOf);
  return original && isCopyOnWrite(original.driver) ? original.name : wish.name;
}
