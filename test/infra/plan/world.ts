import fc from "fast-check";
import { type HostConfig, parseHosts } from "../../../infra/config/config.ts";
import type {
  DeviceLook,
  HostLook,
  InstanceLook,
  PoolLook,
  PoolSizes,
  ProfileLook,
} from "../../../providers/index.ts";
import { OWNER_KEY } from "../../../providers/index.ts";

/** Whose plan the generated worlds are looked at with. */
export const CONTEXT = { project: "taos-hosts", stack: "orchard" };
export const HOST = "orange-1";
const GIB = 1024 ** 3;

export function owner(name: string): string {
  return `${CONTEXT.project}/${CONTEXT.stack}/${HOST}/${name}`;
}

/** A host as generated, and a config that somebody could have written for it. */
export interface World {
  host: HostConfig;
  look: HostLook;
}

/** Pool lists that follow from instances and volumes, as Incus would answer them. */
export function settled(look: HostLook, customVolumes?: Record<string, string[]>): HostLook {
  const pools = look.pools.map((pool): PoolLook => {
    const on = look.instances.filter(({ root }) => root?.pool === pool.name);
    const custom = customVolumes
      ? (customVolumes[pool.name] ?? []).map((name) => ({ name, project: "default", type: "custom" }))
      : pool.volumes.filter(({ type }) => type === "custom");
    const volume = ({ name, project, type }: InstanceLook) => ({ name, project, type });
    return {
      ...pool,
      volumes: [...on.map(volume), ...custom],
      volumeSnapshots: on.flatMap((one) =>
        one.snapshots.map((snapshot) => ({ ...volume(one), name: `${one.name}/${snapshot}` })),
      ),
      usedBy: on.map(
        ({ name, project }) => `/1.0/instances/${name}${project === "default" ? "" : `?project=${project}`}`,
      ),
    };
  });
  return { ...look, pools };
}

export function rootDevice(pool: string, profile: string | null): Record<string, DeviceLook> {
  return { root: { type: "disk", keys: { path: "/", pool }, profile } };
}

const NAMES = ["mary", "naira", "stanley", "taos-agent-iris", "taos-agent-rose", "mary2", "Mary"];
const PROJECTS = ["default", "user-1000"];
const POOLS = ["default", "default-cow", "tank", "taos-worker-pool"];
const ALIASES = ["taos-base", "taos-openclaw-base"];

const OTHER_BRIDGE = { type: "bridge", managed: true };

const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: null });
const bytes = fc.integer({ min: 0, max: 40 }).map((gib) => gib * GIB);

/** Sizes of a pool that is on no loop file. */
export const UNSIZED: PoolSizes = { setting: null, fileSystem: null, loop: false };

/** Sizes of a loop pool that agree, as Incus makes it. */
export function loopSizes(size: number): PoolSizes {
  const devices = [{ device: "/dev/loop3", bytes: size }];
  return { setting: size, fileSystem: size, loop: { file: size, devices } };
}

export const sizes: fc.Arbitrary<PoolSizes> = fc.oneof(
  fc.constant(UNSIZED),
  bytes.map(loopSizes),
  fc.record({
    setting: maybe(bytes),
    fileSystem: maybe(bytes),
    loop: fc.oneof(
      fc.constant("out of reach" as const),
      fc.record({
        file: bytes,
        devices: fc.array(
          bytes.map((size) => ({ device: "/dev/loop3", bytes: size })),
          { maxLength: 2 },
        ),
      }),
    ),
  }),
);

const pool = (name: string): fc.Arbitrary<PoolLook> =>
  fc.record({
    name: fc.constant(name),
    // A second pool is never a dir one: nothing makes it so.
    driver: name.endsWith("-cow")
      ? fc.constantFrom("btrfs", "zfs")
      : fc.constantFrom("dir", "dir", "btrfs", "zfs", "lvm"),
    status: fc.constantFrom("Created", "Created", "Created", "Unavailable"),
    source: fc.constantFrom(
      `/var/lib/incus/disks/${name}.img`,
      `/var/lib/incus/storage-pools/${name}`,
      "/srv/incus",
    ),
    // Nothing of ours is ever on the pool of the taOS worker.
    owner: name === "taos-worker-pool" ? fc.constant(null) : fc.constantFrom(null, null, owner(name)),
    sizes,
    freeBytes: maybe(bytes),
    visible: fc.constantFrom(true, true, true, false),
    usedBy: fc.constant([]),
    volumes: fc.constant([]),
    volumeSnapshots: fc.constant([]),
    buckets: fc.constantFrom([], [], [{ name: "archive", project: "default" }]),
    warm: fc.subarray(["f1", "f2"]),
    leftovers: fc.constantFrom<(string[] | null)[]>([], [], null, ["storage-pools/default/containers/gone"]),
  });

interface Draft {
  name: string;
  project: string;
  ownRoot: string | null;
  profiles: string[];
  status: string;
  snapshots: string[];
  backups: string[];
  bytes: number | null;
  quota: number | null;
  type: string;
  ephemeral: boolean;
  mark: "none" | "agent" | "unprotected agent" | "unfinished agent" | "parked" | "migrating";
  image: string;
}

const draft: fc.Arbitrary<Draft> = fc.record({
  name: fc.constantFrom(...NAMES),
  project: fc.constantFrom(...PROJECTS),
  ownRoot: maybe(fc.constantFrom(...POOLS)),
  profiles: fc.subarray(["default", "extra"]),
  status: fc.constantFrom("Running", "Stopped"),
  snapshots: fc.subarray(["taos-archive-1", "before"]),
  backups: fc.constantFrom<string[][]>([], [], [], ["b1"]),
  bytes: maybe(bytes),
  quota: maybe(bytes),
  type: fc.constantFrom("container", "container", "container", "virtual-machine"),
  ephemeral: fc.constantFrom(false, false, false, true),
  mark: fc.constantFrom<Draft["mark"][]>(
    "none",
    "none",
    "none",
    "agent",
    "unprotected agent",
    "unfinished agent",
    "parked",
    "migrating",
  ),
  image: fc.constantFrom(...ALIASES),
});

function instanceOf(one: Draft, profiles: ProfileLook[], ownProfiles: boolean): InstanceLook {
  const profileProject = ownProfiles ? one.project : "default";
  const giver = one.profiles.findLast((name) =>
    profiles.some(
      (profile) => profile.name === name && profile.project === profileProject && profile.disks["root"],
    ),
  );
  const inherited = profiles.find(({ name, project }) => name === giver && project === profileProject)?.disks[
    "root"
  ]?.["pool"];
  const poolName = one.ownRoot ?? inherited ?? "default";
  const profile = one.ownRoot === null && giver !== undefined ? giver : null;
  const parked = one.mark === "parked";
  const config: Record<string, string> = { "volatile.uuid": UUID };
  if (one.mark.endsWith("agent")) {
    config[OWNER_KEY] = owner(one.name);
    config["user.taos.image"] = one.image;
    config["user.taos.protected"] = String(one.mark !== "unprotected agent");
    if (one.mark === "unfinished agent") config["user.taos.stage"] = "created";
  }
  if (parked)
    config["user.taos.parked"] = JSON.stringify({ name: one.name, reason: "migrated", at: PARKED_AT });
  if (one.mark === "migrating")
    config["user.taos.migration"] = JSON.stringify({ role: "source", name: one.name });
  return {
    name: parked ? `${one.name}-parked-2f47f9a1` : one.name,
    project: one.project,
    type: one.type,
    status: one.status,
    ephemeral: one.ephemeral,
    profiles: one.profiles,
    config,
    hasRawIdmap: false,
    devices: rootDevice(poolName, profile),
    root: { pool: poolName, profile, sizeBytes: one.quota },
    snapshots: one.snapshots,
    backups: one.backups,
    bytes: one.bytes,
    snapshotBytes: one.snapshots.length === 0 ? 0 : one.bytes,
  };
}

const look: fc.Arbitrary<HostLook> = fc
  .record({
    pools: fc.subarray(POOLS).chain((names) => fc.tuple(...names.map(pool))),
    drafts: fc.uniqueArray(draft, {
      maxLength: 7,
      selector: ({ name, project, mark }) => `${project}/${name}/${mark === "parked"}`,
    }),
    ownProfiles: fc.boolean(),
    ownImages: fc.boolean(),
    profileRoots: fc.array(maybe(fc.constantFrom(...POOLS)), { minLength: 4, maxLength: 4 }),
    nics: fc.constantFrom("", "incusbr0", "br0"),
    images: fc.subarray([
      { fingerprint: "f1", project: "default", aliases: ["taos-base"], bytes: GIB },
      { fingerprint: "f2", project: "user-1000", aliases: ["taos-openclaw-base"], bytes: GIB },
    ]),
    bridge: fc.boolean(),
    otherBridges: fc.subarray<HostLook["networks"][number]>([
      { ...OTHER_BRIDGE, name: "taosbr1", owner: owner("taosbr1"), usedBy: [] },
      { ...OTHER_BRIDGE, name: "taosbr2", owner: owner("taosbr2"), usedBy: ["/1.0/profiles/default"] },
      { ...OTHER_BRIDGE, name: "handmade", usedBy: [] },
    ]),
    imageMarks: fc.array(maybe(fc.constantFrom(...ALIASES)), { minLength: 2, maxLength: 2 }),
    custom: fc.constantFrom<Record<string, string[]>[]>({}, {}, { default: ["memory"] }),
    daemonVolumes: fc.constantFrom<HostLook["daemonVolumes"][]>(
      [],
      [],
      [{ setting: "storage.backups_volume", pool: "default", volume: "backups" }],
    ),
    usableDrivers: fc.constantFrom<string[][]>(
      ["btrfs", "dir"],
      ["btrfs", "dir", "zfs"],
      ["dir"],
      ["dir", "zfs"],
    ),
    hostFreeBytes: maybe(fc.integer({ min: 0, max: 200 }).map((gib) => gib * GIB)),
    unprivileged: fc.constantFrom(false, false, false, null, true),
    strays: fc.constantFrom<string[][]>([], [], ["disks/default.img"], ["storage-pools/default-cow"]),
  })
  .map(
    ({
      drafts,
      pools,
      ownProfiles,
      ownImages,
      profileRoots,
      nics,
      bridge,
      otherBridges,
      images,
      imageMarks,
      custom,
      ...rest
    }) => {
      const exists = (name: string | null | undefined): boolean => pools.some((one) => one.name === name);
      const profiles: ProfileLook[] = (ownProfiles ? PROJECTS : ["default"]).flatMap((project, index) =>
        ["default", "extra"].map((name, second): ProfileLook => {
          const rootPool = profileRoots[index * 2 + second];
          const disks: ProfileLook["disks"] =
            exists(rootPool) && rootPool ? { root: { path: "/", pool: rootPool } } : {};
          return { name, project, disks, networks: nics ? [nics] : [] };
        }),
      );
      // Incus refuses instances on pools that do not exist.
      const instances = drafts
        .map((one) => instanceOf(one, profiles, one.project === "default" || ownProfiles))
        .filter(({ root }) => exists(root?.pool));
      return settled(
        {
          ...rest,
          server: { name: HOST, version: "6.0.4", kernel: "6.1.115" },
          projects: [
            { name: "default", ownProfiles: true, ownImages: true },
            { name: "user-1000", ownProfiles, ownImages },
          ],
          pools,
          profiles,
          instances,
          networks: [
            ...(bridge ? [{ name: "incusbr0", type: "bridge", managed: true }] : []),
            ...otherBridges,
          ],
          images: images.map((image, index) => {
            const mark = imageMarks[index];
            return mark ? { ...image, owner: owner(mark) } : image;
          }),
          filesReadable: true,
        },
        custom,
      );
    },
  );

const container = fc.record(
  {
    protected: fc.boolean(),
    project: fc.constantFrom(...PROJECTS),
    pool: fc.constantFrom("default-cow", "tank"),
  },
  { requiredKeys: [] },
);
const agent = fc.record(
  { image: fc.constantFrom(...ALIASES), protected: fc.boolean(), project: fc.constantFrom(...PROJECTS) },
  { requiredKeys: ["image"] },
);

/** Of every instance: a parked source and its successor have the same. */
const UUID = "2f47f9a1-10c2-4ea2-bdf4-01f64f5de095";

/** When parked sources were parked. */
const PARKED_AT = "2026-11-01T10:00:00.000Z";

/** Splits names in two lists, since none may be under both. */
const config: fc.Arbitrary<HostConfig> = fc
  .record({
    names: fc.uniqueArray(fc.tuple(fc.constantFrom(...NAMES), fc.boolean()), { selector: ([name]) => name }),
    containers: fc.array(container, { minLength: NAMES.length, maxLength: NAMES.length }),
    agents: fc.array(agent, { minLength: NAMES.length, maxLength: NAMES.length }),
    picks: fc.array(fc.array(fc.boolean(), { minLength: 5, maxLength: 5 }), {
      minLength: NAMES.length,
      maxLength: NAMES.length,
    }),
    pool: fc.record(
      {
        driver: fc.constantFrom("auto", "auto", "btrfs", "zfs", "dir"),
        size: fc.constantFrom("6GiB", "30GiB"),
        name: fc.constant("default"),
      },
      { requiredKeys: ["driver"] },
    ),
    images: fc.subarray(["taos-base", { alias: "taos-openclaw-base", file: "image.tar.gz" }]),
    project: fc.constantFrom(...PROJECTS),
  })
  .map(({ names, containers, agents, picks, pool: wanted, images, project }) => {
    const listed = names.flatMap(([name, isAgent], index) =>
      isAgent ? [] : [[name, containers[index]] as const],
    );
    const created = names.flatMap(([name, isAgent], index) =>
      isAgent ? [[name, agents[index]] as const] : [],
    );
    const picked = (entries: readonly (readonly [string, unknown])[], option: number): string[] =>
      entries.map(([name]) => name).filter((name) => picks[NAMES.indexOf(name)]?.[option]);
    const undo = picked(listed, 4);
    const { size, ...pool } = wanted;
    const raw = {
      pool: { ...pool, ...(size !== undefined && pool.driver !== "dir" ? { size } : {}) },
      images,
      project,
      containers: Object.fromEntries(listed),
      agents: Object.fromEntries(created),
      optIn: {
        migrate: picked(listed, 0).filter((name) => !undo.includes(name)),
        pinRoot: picked(listed, 1).filter((name) => !undo.includes(name)),
        replace: picked(created, 2),
        removeParked: picked([...listed, ...created], 3).filter((name) => !undo.includes(name)),
        undo,
      },
    };
    const parsed = parseHosts({ [HOST]: raw })[HOST];
    if (!parsed) throw new Error("the generated config has no host");
    return parsed;
  });

export const world: fc.Arbitrary<World> = fc.record({ host: config, look });
