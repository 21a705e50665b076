import { checkServer } from "../incus/admission.ts";
import type { IncusClient } from "../incus/client.ts";
import { api } from "../incus/paths.ts";
import type { RequestOptions } from "../incus/requests.ts";
import * as schemas from "../incus/schemas.ts";
import { recreationsIn } from "../marks/keys.ts";
import { withUsage } from "../project/limits.ts";
import { missingSources, workingPools } from "./device-sources.ts";
import { isUnprivileged, usableDrivers } from "./drivers.ts";
import { type HostFiles, openHostFiles } from "./files.ts";
import { foreignMounts } from "./foreign-mounts.ts";
import { findStrays } from "./leftovers.ts";
import { localMachine } from "./local-machine.ts";
import type { HostLook } from "./look.ts";
import { lookAtPool } from "./look-at-pool.ts";
import { type InstanceLook, instanceLook } from "./look-instance.ts";
import { daemonVolumes, freeByDirPool, imageLook, networkLook, profileLook } from "./look-objects.ts";
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
  const left = (): number => Math.max(1, until - Date.now());
  const asking = (query = {}): RequestOptions => ({ query, deadline: left(), signal: options.signal });
  const server = await client.get("/1.0", schemas.Server, asking());
  await checkServer(client, server);
  const [projects, pools, instances, profiles, images, networks, files] = await Promise.all([
    client.list(api("projects"), schemas.Project, asking({ recursion: 1 })),
    client.list(api("storage-pools"), schemas.StoragePool, asking({ recursion: 1 })),
    client.list(api("instances"), schemas.Instance, asking({ ...ALL, recursion: 2 })),
    client.list(api("profiles"), schemas.Profile, asking(ALL)),
    client.list(api("images"), schemas.Image, asking(ALL)),
    client.list(api("networks"), schemas.Network, asking({ recursion: 1 })),
    openHostFiles(client),
  ]);
  const poolLooks = await Promise.all(pools.map((pool) => lookAtPool(client, pool, asking(ALL), files)));
  const ownProfiles = new Set(
    projects.filter((one) => one.config["features.profiles"] !== "false").map((one) => one.name),
  );
  const looks = instances.map((instance) => {
    const profileProject = ownProfiles.has(instance.project) ? instance.project : "default";
    return instanceLook(instance, profiles, profileProject, options.changesOf?.(instance));
  });
  if (files) {
    await addMounts(looks, files);
    await addMissing(looks, instances, { networks, pools }, files);
    if (options.undo) await addWrittenSince(looks, files, options.undo, left());
    if (options.sizes) await measureInstances(looks, poolLooks, files, options.moving ?? [], left());
  }
  const { server_name = "", server_version = "", kernel_version = "" } = server.environment ?? {};
  return {
    server: { name: server_name, version: server_version, kernel: kernel_version },
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
    filesReadable: files !== undefined,
    ...(client.ssh ? { reach: await client.ssh.reach() } : {}),
    strays: files ? await findStrays(files, pools) : [],
    recreations: recreationsIn(server.config),
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
  const there = { interfaces: networks.map(({ name }) => name), pools: workingPools(pools) };
  const missing = await missingSources(files, devices, there);
  for (const [index, look] of looks.entries()) {
    const found = missing[index] ?? [];
    if (found.length > 0) look.missing = found;
  }
}
