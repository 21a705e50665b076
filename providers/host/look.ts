import type { CountedLimits, ProjectRules } from "../project/limits.ts";
import type { InstanceLook } from "./look-instance.ts";
import type { PoolSizes } from "./pool-sizes.ts";

/** A volume of a pool, snapshots apart. */
export interface VolumeLook {
  name: string;
  project: string;
  type: string;
}

/** A storage pool and everything on it. Sizes in bytes; null where unknown. */
export interface PoolLook {
  name: string;
  driver: string;
  status: string;
  source: string;
  /** Ownership mark; null where there is none, or it cannot be seen. */
  owner: string | null;
  /** The stack that made it has forgotten it. */
  released?: boolean;
  sizes: PoolSizes;
  freeBytes: number | null;
  /** Free on the host where the pool's loop file is. */
  loopFreeBytes?: number | undefined;
  /** False where this caller may not see the pool's settings: then nothing proves that it is empty. */
  visible: boolean;
  usedBy: string[];
  /** Instance and custom volumes, without their snapshots. */
  volumes: VolumeLook[];
  /** `volume/snapshot` with their project. */
  volumeSnapshots: VolumeLook[];
  buckets: { name: string; project: string }[];
  /** Fingerprints of the images unpacked here. */
  warm: string[];
  /** Paths on a `dir` pool that the database does not know; null where the host's files are out of reach. */
  leftovers: string[] | null;
}

export interface ProfileLook {
  name: string;
  project: string;
  /** Disk devices by name. */
  disks: Record<string, Record<string, string>>;
  /** What each of its network interfaces is on: a network, a bridge of the host, or the kind of interface. */
  networks: string[];
  /** Devices that taos-hosts added once. */
  added?: string[];
  /** What instances count against the limits of their project by this profile. */
  limits?: Pick<CountedLimits, "memory" | "cpu" | "processes">;
}

export interface ImageLook {
  fingerprint: string;
  project: string;
  aliases: string[];
  bytes: number;
  /** Why no container of this host can be made from it; absent where one can. */
  unfit?: string;
  /** Ownership mark; absent where there is none. */
  owner?: string;
}

export interface NetworkLook {
  name: string;
  type: string;
  managed: boolean;
  /** Ownership mark; absent where there is none. */
  owner?: string;
  /** The stack that made it has forgotten it. */
  released?: boolean;
  /** URLs of what uses it. */
  usedBy?: string[];
}

/** A project: what it has of its own, and what it allows. */
export interface ProjectLook extends Partial<ProjectRules> {
  name: string;
  ownProfiles: boolean;
  ownImages: boolean;
  /** It has networks of its own, which are not looked at. */
  ownNetworks?: boolean;
}

/**
 * What one read-only look at a host showed: plain JSON, without a secret (no `environment.*`, no other config than
 * a short list of keys). Planner, report and providers work from it.
 */
export interface HostLook {
  server: { name: string; version: string; kernel: string };
  projects: ProjectLook[];
  pools: PoolLook[];
  instances: InstanceLook[];
  profiles: ProfileLook[];
  images: ImageLook[];
  networks: NetworkLook[];
  /** Daemon settings that keep a volume on a pool. */
  daemonVolumes: { setting: string; pool: string; volume: string }[];
  /** Drivers that can really be used (see host-drivers.ts). */
  usableDrivers: string[];
  /** Bytes free for a loop file; null where unknown. */
  hostFreeBytes: number | null;
  /** True where the daemon runs in an unprivileged container and cannot mount a file system; null where unknown. */
  unprivileged: boolean | null;
  /** Whether the host's files could be read: leftovers and sizes are known. */
  filesReadable: boolean;
  /** By which rights over ssh Incus and the host's files are reached, in words. */
  reach?: string;
  /** Loop files and pool directories that belong to no pool of the database; they block a new pool of that name. */
  strays: string[];
  /** Pools whose recreation was begun and not ended. */
  recreations?: string[];
}
