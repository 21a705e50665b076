import { z } from "zod";
import { IncusApiError, VisibleError } from "../common/errors.ts";
import type { IncusClient } from "../incus/client.ts";
import { unfitness } from "../incus/image-fitness.ts";
import { api } from "../incus/paths.ts";
import * as schemas from "../incus/schemas.ts";
import { addedDevices, OWNER_KEY, recreationsIn } from "../marks/keys.ts";
import { isReleased } from "../marks/ownership.ts";
import { countedLimits, withUsage } from "../project/limits.ts";
import { missingSources, workingPools } from "./device-sources.ts";
import { isUnprivileged, usableDrivers } from "./drivers.ts";
import { type HostFiles, openHostFiles } from "./files.ts";
import { foreignMounts } from "./foreign-mounts.ts";
import { findLeftovers, findStrays } from "./leftovers.ts";
import { localMachine } from "./local-machine.ts";
import type { HostLook, ImageLook, NetworkLook, PoolLook, ProfileLook, VolumeLook } from "./look.ts";
import { diskKeys, type InstanceLook, instanceLook } from "./look-instance.ts";
import { isOnLoopFile, poolSizesOf } from "./pool-sizes.ts";
import { measureInstances } from "./sizes.ts";
import { addWrittenSince } from "./written.ts";

export interface LookOptions {
  /** Milliseconds for the whole look. */
  deadline: number;
  /** Measure instance volumes on `dir` pools (du); takes time on slow media. */
  sizes: boolean;
  /** Containers that are to move: they are measured on `btrfs` pools, too. */
  moving?: readonly { project: string; name: string }[];
  /** Containers of which it is counted what was written since their migration. */
  undo?: readonly { project: string; name: string }[];
  /** What `up` changes in place on an instance, without secrets; nothing where it is no agent of the config. */
  changesOf?: (live: schemas.Instance) => string[];
  signal?: AbortSignal;
}

const ALL = { recursion: 1, "all-projects": "true" } as const;

/**
 * Looks at a host without writing: a constant number of requests, whatever the number of containers (seven, and three
 * for each pool), in parallel.
 * @throws UnreachableError, DeadlineError, VisibleError where the daemon does not trust this client
 */
export async function lookAtHost(client: IncusClient, options: LookOptions): Promise<HostLook> {
  const until = Date.now() + options.deadline;
  const get = <S extends z.ZodType>(path: string, schema: S, query = {}): Promise<z.output<S>> =>
    client.get(path, schema, {
      query,
      deadline: Math.max(1, until - Date.now()),
      ...(options.signal ? { signal: options.signal } : {}),
    });
  const list = <S extends z.ZodType>(path: string, item: S, query = {}): Promise<z.output<S>[]> =>
    get(path, z.array(item).nullable(), query).then((found) => found ?? []);
  const server = await get("/1.0", schemas.Server);
  if (server.auth !== "trusted") {
    throw new VisibleError(
      `Host "${client.host.name}" does not trust this client. On the host run: incus config trust add, and use its token or certificate.`,
    );
  }
  const [projects, pools, instances, profiles, images, networks, files] = await Promise.all([
    list(api("projects"), schemas.Project, { recursion: 1 }),
    list(api("storage-pools"), schemas.StoragePool, { recursion: 1 }),
    list(api("instances"), schemas.Instance, { ...ALL, recursion: 2 }),
    list(api("profiles"), schemas.Profile, ALL),
    list(api("images"), schemas.Image, ALL),
    list(api("networks"), schemas.Network, { recursion: 1 }),
    openHostFiles(client),
  ]);
  const poolLooks = await Promise.all(pools.map((pool) => lookAtPool(pool, get, list, files)));
  if (files) await addLeftovers(poolLooks, files);
  const ownProfiles = new Set(
    projects.filter((one) => one.config["features.profiles"] !== "false").map((one) => one.name),
  );
  const looks = instances.map((instance) =>
    instanceLook(instance, profiles, ownProfiles.has(instance.project) ? instance.project : "default"),
  );
  for (const [index, live] of instances.entries()) {
    const changes = options.changesOf?.(live) ?? [];
    const look = looks[index];
    if (look && changes.length > 0) look.changes = changes;
  }
  if (files) {
    await addMounts(looks, files);
    await addMissing(looks, instances, { networks, pools }, files);
  }
  if (files && options.undo)
    await addWrittenSince(looks, files, options.undo, Math.max(1, until - Date.now()));
  if (files && options.sizes)
    await measureInstances(looks, poolLooks, files, options.moving ?? [], Math.max(1, until - Date.now()));
  return {
    server: {
      name: server.environment?.server_name ?? "",
      version: server.environment?.server_version ?? "",
      kernel: server.environment?.kernel_version ?? "",
    },
    projects: await Promise.all(
      projects.map(async (project) => ({
        name: project.name,
        ownProfiles: ownProfiles.has(project.name),
        ownImages: project.config["features.images"] !== "false",
        ownNetworks: project.name !== "default" && project.config["features.networks"] === "true",
        ...(await withUsage(client, project)),
      })),
    ),
    pools: poolLooks,
    instances: looks.sort((a, b) => a.project.localeCompare(b.project) || a.name.localeCompare(b.name)),
    profiles: profiles.map(profileLook),
    images: images.map((image) => imageLook(image, server)),
    networks: networks.map(networkLook),
    daemonVolumes: daemonVolumes(server.config),
    usableDrivers: await usableDrivers(server, files),
    hostFreeBytes: files ? await files.freeBytes() : freeByDirPool(poolLooks),
    unprivileged: await isUnprivilegedHost(client, files),
    ...(files && !files.machine.endsWriters ? { endsNoWriters: true } : {}),
    filesReadable: files !== undefined,
    strays: files ? await findStrays(files, pools) : [],
    recreations: recreationsIn(server.config),
  };
}

type Get = <S extends z.ZodType>(path: string, schema: S, query?: object) => Promise<z.output<S>>;

type List = <S extends z.ZodType>(path: string, item: S, query?: object) => Promise<z.output<S>[]>;

async function lookAtPool(
  pool: schemas.StoragePool,
  get: Get,
  list: List,
  files: HostFiles | undefined,
): Promise<PoolLook> {
  const available = pool.status === "Created" || pool.status === "";
  const [volumes, buckets, resources, loopFile] = await Promise.all([
    list(api("storage-pools", pool.name, "volumes"), schemas.StorageVolume, ALL),
    // Drivers without buckets answer with 400.
    list(api("storage-pools", pool.name, "buckets"), schemas.StorageBucket, ALL).catch(noneOn(400, [])),
    // A pool that is not available answers with an error; its space is unknown.
    available
      ? get(api("storage-pools", pool.name, "resources"), schemas.PoolResources).catch(
          noneOn(undefined, undefined),
        )
      : undefined,
    isOnLoopFile(pool) ? files?.loopFile(pool.name) : undefined,
  ]);
  const own = volumes.filter(({ type }) => type !== "image");
  const look = ({ name, project, type }: schemas.StorageVolume): VolumeLook => ({ name, project, type });
  return {
    name: pool.name,
    driver: pool.driver,
    status: pool.status,
    source: pool.config?.["volatile.initial_source"] ?? pool.config?.["source"] ?? "",
    owner: pool.config?.[OWNER_KEY] ?? null,
    ...releaseOf(pool.config ?? {}),
    sizes: poolSizesOf(pool, resources?.space.total ?? 0, loopFile),
    loopFreeBytes: loopFile?.freeBytes,
    freeBytes: resources && resources.space.total > 0 ? resources.space.total - resources.space.used : null,
    visible: pool.config !== null,
    usedBy: pool.used_by,
    volumes: own.filter(({ name }) => !name.includes("/")).map(look),
    volumeSnapshots: own.filter(({ name }) => name.includes("/")).map(look),
    buckets: buckets.map(({ name, project }) => ({ name, project })),
    warm: volumes.filter(({ type }) => type === "image").map(({ name }) => name),
    leftovers: null,
  };
}

async function isUnprivilegedHost(
  { endpoint }: IncusClient,
  files: HostFiles | undefined,
): Promise<boolean | null> {
  if (files) return isUnprivileged(files.machine);
  return endpoint.kind === "unix" ? isUnprivileged(localMachine) : null;
}

async function addMounts(instances: InstanceLook[], files: HostFiles): Promise<void> {
  const mounts = await files.mounts();
  for (const instance of instances) {
    const found = instance.root ? foreignMounts(files, mounts, instance.root.pool, instance) : [];
    if (found.length > 0) instance.mounts = found;
  }
}

async function addMissing(
  looks: readonly InstanceLook[],
  instances: readonly schemas.Instance[],
  { networks, pools }: { networks: readonly schemas.Network[]; pools: readonly schemas.StoragePool[] },
  files: HostFiles,
): Promise<void> {
  const devices = instances.map((one) => one.expanded_devices);
  const missing = await missingSources(files, devices, {
    interfaces: networks.map(({ name }) => name),
    pools: workingPools(pools),
  });
  for (const [index, look] of looks.entries()) {
    const found = missing[index] ?? [];
    if (found.length > 0) look.missing = found;
  }
}

async function addLeftovers(pools: PoolLook[], files: HostFiles): Promise<void> {
  for (const pool of pools) {
    if (pool.driver === "dir") pool.leftovers = await findLeftovers(files, pool);
  }
}

/** Answers an API error with this status (any, where undefined) by a fallback. */
function noneOn<T>(status: number | undefined, fallback: T): (error: unknown) => T {
  return (error) => {
    if (error instanceof IncusApiError && (status === undefined || error.status === status)) return fallback;
    throw error;
  };
}

function networkLook({ name, type, managed, config, used_by }: schemas.Network): NetworkLook {
  return { name, type, managed, ...markOf(config), ...releaseOf(config), usedBy: used_by };
}

function markOf(config: Record<string, string>): { owner?: string } {
  const owner = config[OWNER_KEY];
  return owner === undefined ? {} : { owner };
}

function releaseOf(config: Record<string, string>): { released?: boolean } {
  return isReleased(config) ? { released: true } : {};
}

function imageLook(image: schemas.Image, server: schemas.Server): ImageLook {
  const { fingerprint, project, aliases, size } = image;
  const unfit = unfitness(image, server.environment?.architectures ?? []);
  return {
    fingerprint,
    project,
    aliases: aliases.map(({ name }) => name),
    bytes: size,
    ...markOf(image.properties),
    ...(unfit === undefined ? {} : { unfit }),
  };
}

function profileLook(profile: schemas.Profile): ProfileLook {
  const devices = Object.entries(profile.devices);
  const disks = devices.filter(([, device]) => device["type"] === "disk");
  return {
    name: profile.name,
    project: profile.project,
    disks: Object.fromEntries(disks.map(([name, device]) => [name, diskKeys(device)])),
    added: addedDevices(profile),
    limits: countedLimits(profile.config),
    networks: devices
      .filter(([, device]) => device["type"] === "nic")
      .map(([, device]) => device["network"] ?? device["parent"] ?? device["nictype"] ?? ""),
  };
}

/** `storage.backups_volume` and its like: value `pool/volume`. */
function daemonVolumes(config: Record<string, string>): HostLook["daemonVolumes"] {
  return Object.entries(config).flatMap(([setting, value]) => {
    if (!/^storage\..*_volume$/.test(setting)) return [];
    const [pool = "", volume = ""] = value.split("/");
    return pool === "" ? [] : [{ setting, pool, volume }];
  });
}

/** A `dir` pool in Incus' own directory shares the host's file system. */
function freeByDirPool(pools: PoolLook[]): number | null {
  const pool = pools.find(({ driver, source }) => driver === "dir" && source.includes("/storage-pools/"));
  return pool?.freeBytes ?? null;
}
