import type { PoolDecision, Problem } from "@taos-hosts/providers";

/** What a plan may do. Everything else leaves the host as it is. */
export type ActionKind =
  | "prepare"
  | "create-pool"
  | "grow-pool"
  | "recreate-pool"
  | "delete-pool"
  | "create-network"
  | "delete-network"
  | "add-profile-devices"
  | "repoint-profile"
  | "import-image"
  | "warm-image"
  | "delete-image"
  | "create-agent"
  | "update-agent"
  | "replace-agent"
  | "delete-agent"
  | "migrate"
  | "conclude-migration"
  | "undo-migration"
  | "pin-root"
  | "remove-parked";

/** What it takes to move a container. Sizes in bytes; null where unknown. */
export interface Cost {
  /** What is read: the container's volume and its snapshots, on a pool without shared blocks. */
  bytes: number | null;
  snapshots: number;
  /** Seconds for which the container is stopped; 0 for one that is stopped anyway. */
  downtimeSeconds: number | null;
  /** In the target pool: the volume. Its snapshots share their blocks with it there. */
  spaceNeeded: number | null;
  /** The image it was made from is on the host: unchanged files share its blocks, so less than `spaceNeeded` will do. */
  sharesImage: boolean;
  /** Free in the target pool and, under a loop file, on the host. */
  spaceThere: number | null;
}

/** What something is done to, or is not. */
export interface Subject {
  /** `pool default`, `container user-1000/stanley`. */
  object: string;
  /** The container it touches, `name` or `project/name`; absent for what touches none. */
  container?: string;
}

export interface Action extends Subject {
  kind: ActionKind;
  reason: string;
  /** Pool it uses, where that is not said by the object. */
  pool?: string | undefined;
  /** Image alias, fingerprint or device names that the action is about. */
  detail?: string;
  cost?: Cost;
}

/**
 * Something that is not done, with what the person can do about it. `error`: the config asks for what cannot be, and
 * `up` fails there. `held`: it waits for an opt-in, and `up` goes on.
 */
export interface Refusal extends Subject, Problem {
  severity: "error" | "held";
}

/** One container of the host, listed or not. */
export interface ContainerRow {
  /** `name`, or `project/name` outside project `default`. */
  name: string;
  status: string;
  pool: string;
  driver: string;
  /** Where the root disk comes from: the instance's own device, or a profile. */
  rootFrom: string;
  listed: "containers" | "agents" | "no";
  protected: boolean;
  /** The container whose kept source this is. */
  parkedOf: string | null;
  /** Without snapshots. On a copy-on-write pool with the blocks that it shares with its image and others. */
  bytes: number | null;
  snapshotBytes: number | null;
  snapshots: number;
  /** What happens to it by this plan; null where nothing. */
  action: string | null;
  /** Why nothing happens, or what opting in would take. */
  whyNot: string | null;
  /** What a migration would cost; null where it is on copy-on-write storage or cannot be moved. */
  migration: Cost | null;
}

/** A pool as the look showed it. Sizes in bytes; null where unknown. */
export interface PoolRow {
  name: string;
  driver: string;
  status: string;
  /** What it can hold in all; of a `dir` pool, the file system that it is on. */
  sizeBytes: number | null;
  freeBytes: number | null;
  /** Instances whose root disk is on it. */
  containers: number;
  /** What these occupy with their snapshots, where each is measured. Shared blocks count for each that has them. */
  heldBytes: number | null;
  /** Its loop file, and what is free on the host for that to grow; null for a pool on anything else. */
  loop: { fileBytes: number | null; freeBytes: number | null } | null;
}

/**
 * A migration that is under way or is being taken back (`going-back`), or why an instance was parked: after a
 * migration, for a replacement, or as what an undo put aside.
 */
export interface MigrationRow {
  /** `name`, or `project/name` outside project `default`. */
  container: string;
  kind: "under-way" | "going-back" | "migrated" | "replaced" | "undone";
  /** The last one that the journals tell; null where it is over, or they cannot be read. */
  phase: string | null;
  /** Pools. */
  from: string | null;
  to: string | null;
  /** When it began or, of a past one, when the instance was parked: ISO 8601. */
  at: string | null;
  /** Name under which the instance is parked, and what it occupies. */
  kept: string | null;
  bytes: number | null;
}

/** taOS' token for how containers are stored (COW_EFFECTIVE_MODE). */
export type Mode = "btrfs" | "zfs" | "dir" | "none" | "existing" | "n/a";

/** Where `incus launch` without options goes in one project, once the plan is done: by its default profile. */
export interface Launches {
  project: string;
  /** Pool and its driver; null where the profile has no root disk, so that a launch must name a pool. */
  pool: string | null;
  driver: string | null;
  /** Networks, or bridges of the host, of the profile's network interfaces. */
  networks: string[];
}

/** What would happen to one host. Plain JSON. */
export interface HostPlan {
  host: string;
  /** Why the host could not be looked at; its resources stay as they are. */
  unreachable: string | null;
  /** The pool that new containers use, after the plan. */
  pool: {
    name: string;
    /** The pool that the config means, by name or by leaving it to the host; `name` is another where that is left. */
    main: string;
    driver: string | null;
    mode: Mode;
    sizeBytes: number | null;
    freeBytes: number | null;
    /** Of the pool that the config names. Null where nothing is known of the host yet. */
    decision: PoolDecision | null;
    /** Of the second pool, where containers are migrated. */
    cowDecision: PoolDecision | null;
  };
  /** All pools of the host, as they are now. */
  storage: PoolRow[];
  migrations: MigrationRow[];
  launches: Launches[];
  actions: Action[];
  refusals: Refusal[];
  /** Good to know; nothing depends on it. */
  remarks: string[];
  containers: ContainerRow[];
  /** Names of protected containers on the host that this stack made: the policy pack wants each declared. */
  protectedAgents: string[];
}

/** What would happen to the hosts of a stack. Plain JSON. */
export interface Plan {
  hosts: HostPlan[];
}

/** What happens to the containers that the config lists. */
export interface ContainerPlan {
  /** Pool of each container that moves, by qualified name. */
  moves: Map<string, string>;
  /** Qualified names of containers that get a local root disk. */
  pinned: Set<string>;
  /** Bytes left in each target pool after the migrations planned so far. */
  room: Map<string, number | null>;
}
