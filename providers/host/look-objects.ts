import { unfitness } from "../incus/image-fitness.ts";
import type * as schemas from "../incus/schemas.ts";
import { addedDevices, OWNER_KEY } from "../marks/keys.ts";
import { isReleased } from "../marks/ownership.ts";
import { countedLimits } from "../project/limits.ts";
import type { HostLook, ImageLook, NetworkLook, PoolLook, ProfileLook } from "./look.ts";
import { diskKeys } from "./look-instance.ts";

export function networkLook({ name, type, managed, config, used_by }: schemas.Network): NetworkLook {
  return { name, type, managed, ...markOf(config), ...releaseOf(config), usedBy: used_by };
}

function markOf(config: Record<string, string>): { owner?: string } {
  const owner = config[OWNER_KEY];
  return owner === undefined ? {} : { owner };
}

/** That the stack which made an object has forgotten it. */
export function releaseOf(config: Record<string, string>): { released?: boolean } {
  return isReleased(config) ? { released: true } : {};
}

export function imageLook(image: schemas.Image, server: schemas.Server): ImageLook {
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

export function profileLook(profile: schemas.Profile): ProfileLook {
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
export function daemonVolumes(config: Record<string, string>): HostLook["daemonVolumes"] {
  return Object.entries(config).flatMap(([setting, value]) => {
    if (!/^storage\..*_volume$/.test(setting)) return [];
    const [pool = "", volume = ""] = value.split("/");
    return pool === "" ? [] : [{ setting, pool, volume }];
  });
}

/** A `dir` pool in Incus' own directory shares the host's file system. */
export function freeByDirPool(pools: readonly PoolLook[]): number | null {
  const pool = pools.find(({ driver, source }) => driver === "dir" && source.includes("/storage-pools/"));
  return pool?.freeBytes ?? null;
}
