import { cowName } from "../common/names.ts";
import type { HostLook } from "../host/look.ts";
import type { PoolSizes } from "../host/pool-sizes.ts";
import { type PoolContents, poolContents } from "./contents.ts";
import { isCopyOnWrite } from "./drivers.ts";
import type { PoolWish, PoolWorld } from "./wish.ts";

/** The facts: what one look at the host showed. */
export interface PoolFacts {
  pool?: { driver: string; status: string; sizes: PoolSizes; contents: PoolContents } | undefined;
  /** A recreation of the pool was begun and not ended. */
  isRecreating?: boolean | undefined;
  /** A pool whose name differs from the wished one by case alone: surely the one that is meant. */
  namesake?: string | undefined;
  /** The pool named by `insteadOf`, where it exists. */
  original?: { driver: string } | undefined;
  /** A copy-on-write pool `<name>-cow` exists: migration has begun, the `dir` pool stays. */
  hasCowTwin: boolean;
  /** Drivers that the daemon can really use. */
  usableDrivers: string[];
  /** Bytes free for the loop file on the host; null where unknown. */
  hostFreeBytes: number | null;
  /** A loop file or directory of this pool's name that the database does not know, below Incus' directory. */
  strays?: string[] | undefined;
  /** The daemon runs in an unprivileged container, where no file system can be mounted. */
  unprivileged?: boolean | undefined;
}

/** What `settleWish` needs to know of a host. Pure. */
export function poolWorldOf(look: HostLook): PoolWorld {
  const profile = look.profiles.find(({ name, project }) => name === "default" && project === "default");
  const root = Object.values(profile?.disks ?? {}).find((disk) => disk["path"] === "/" && disk["pool"]);
  return { pools: look.pools, rootPool: root?.["pool"] ?? null };
}

/** What `decidePool` needs to know of one pool, from a look at its host. Pure. */
export function poolFactsOf(look: HostLook, wish: PoolWish): PoolFacts {
  const pool = look.pools.find(({ name }) => name === wish.name);
  const original = look.pools.find(({ name }) => name === wish.insteadOf);
  return {
    pool: pool && {
      driver: pool.driver,
      status: pool.status,
      sizes: pool.sizes,
      contents: poolContents(look, pool),
    },
    isRecreating: look.recreations?.includes(wish.name),
    namesake: look.pools.find(
      ({ name }) => name !== wish.name && name.toLowerCase() === wish.name.toLowerCase(),
    )?.name,
    original: original && { driver: original.driver },
    hasCowTwin: look.pools.some(({ name, driver }) => name === cowName(wish.name) && isCopyOnWrite(driver)),
    usableDrivers: look.usableDrivers,
    // A loop file behind a symlink may be on another file system than Incus' directory.
    hostFreeBytes: pool?.loopFreeBytes ?? look.hostFreeBytes,
    strays: look.strays.filter(
      (path) => path === `disks/${wish.name}.img` || path === `storage-pools/${wish.name}`,
    ),
    unprivileged: look.unprivileged === true,
  };
}
