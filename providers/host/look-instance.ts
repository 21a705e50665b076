import { parseBytes } from "../common/bytes.ts";
import { rootDisk } from "../incus/root-disk.ts";
import type { Instance, Profile } from "../incus/schemas.ts";
import { type CountedLimits, countedLimits } from "../project/limits.ts";
import type { DeviceSource } from "./device-sources.ts";
import { type NicLook, nicsOf } from "./nic-conflicts.ts";

/** One device, reduced to what placement needs. */
export interface DeviceLook {
  /** `disk`, `nic`, `proxy`, … */
  type: string;
  /** Disk, nic and proxy keys of DEVICE_KEYS. */
  keys: Record<string, string>;
  /** The profile it comes from; null for a local one. */
  profile: string | null;
}

/** One instance. Sizes in bytes; null where unknown. */
export interface InstanceLook {
  name: string;
  project: string;
  type: string;
  status: string;
  ephemeral: boolean;
  profiles: string[];
  /** Only keys that `isPlainKey` lets through: never `environment.*` or cloud-init data. */
  config: Record<string, string>;
  hasRawIdmap: boolean;
  /** What it counts against the limits of its project, its root disk apart. */
  limits?: Pick<CountedLimits, "memory" | "cpu" | "processes">;
  devices: Record<string, DeviceLook>;
  /** Its network interfaces, as Incus compares them at a start. */
  nics?: NicLook[];
  /** Where the root disk is, and the profile that says so (null: its own device). Null where it has none. */
  root: { pool: string; profile: string | null; sizeBytes: number | null } | null;
  snapshots: string[];
  /** Names of server-side backups; a move between pools would lose them. */
  backups: string[];
  /** Its stopped state holds process state. */
  stateful?: boolean;
  /** A snapshot that holds process state. */
  statefulSnapshot?: string;
  bytes: number | null;
  snapshotBytes: number | null;
  /** Mount points of the host below its volume, which a copy or a deletion would go into; absent where there are none. */
  mounts?: string[];
  /** What its devices need at a start and the host does not have; absent where there is nothing. */
  missing?: DeviceSource[];
  /** What `up` changes on it in place, in words and without secrets; only of agents that were asked for. */
  changes?: string[];
  /** What an undo of its migration would put aside; only where that was asked for. */
  writtenSince?: WrittenSince;
}

const PLAIN_KEYS = ["volatile.base_image", "volatile.uuid", "volatile.uuid.generation", "boot.autostart"];
const PLAIN_PREFIXES = ["user.taos.", "security.protection."];
const DEVICE_KEYS: Record<string, string[]> = {
  disk: ["path", "pool", "source", "size"],
  nic: ["name", "network", "nictype", "parent", "ipv4.address"],
  proxy: ["listen", "connect", "bind"],
};

function isPlainKey(key: string): boolean {
  return PLAIN_KEYS.includes(key) || PLAIN_PREFIXES.some((prefix) => key.startsWith(prefix));
}

/** A disk device with the keys that are looked at. */
export function diskKeys(device: Record<string, string>): Record<string, string> {
  return pick(device, DEVICE_KEYS["disk"] ?? []);
}

function pick(device: Record<string, string>, keys: string[]): Record<string, string> {
  return Object.fromEntries(Object.entries(device).filter(([key]) => keys.includes(key)));
}

/** Snapshots and backups are named `instance/name`. */
function lastPart(name: string): string {
  return name.split("/").at(-1) ?? name;
}

/**
 * Reduces an instance of the API.
 * @param profileProject the project whose profiles it uses
 * @param changes what `up` changes on it in place
 */
export function instanceLook(
  instance: Instance,
  profiles: readonly Profile[],
  profileProject: string,
  changes: string[] = [],
): InstanceLook {
  const giverOf = (device: string): string | null => {
    if (instance.devices[device]) return null;
    const has = (name: string): boolean =>
      profiles.some(
        (one) => one.name === name && one.project === profileProject && one.devices[device] !== undefined,
      );
    return instance.profiles.findLast(has) ?? null;
  };
  const devices = Object.entries(instance.expanded_devices).map(([name, device]): [string, DeviceLook] => {
    const type = device["type"] ?? "";
    return [name, { type, keys: pick(device, DEVICE_KEYS[type] ?? []), profile: giverOf(name) }];
  });
  const root = rootDisk(instance.expanded_devices);
  const stateful = (instance.snapshots ?? []).find((snapshot) => snapshot.stateful);
  const usage = root ? (instance.state?.disk[root.name]?.usage ?? -1) : -1;
  return {
    name: instance.name,
    project: instance.project,
    type: instance.type,
    status: instance.status,
    ephemeral: instance.ephemeral,
    profiles: instance.profiles,
    config: Object.fromEntries(Object.entries(instance.config).filter(([key]) => isPlainKey(key))),
    hasRawIdmap: instance.expanded_config["raw.idmap"] !== undefined,
    limits: countedLimits(instance.expanded_config),
    devices: Object.fromEntries(devices),
    nics: nicsOf(instance),
    root: root
      ? {
          pool: root.pool,
          profile: giverOf(root.name),
          sizeBytes: root.device["size"] === undefined ? null : (parseBytes(root.device["size"]) ?? null),
        }
      : null,
    snapshots: (instance.snapshots ?? []).map(({ name }) => lastPart(name)),
    backups: (instance.backups ?? []).map(({ name }) => lastPart(name)),
    ...(instance.stateful ? { stateful: true } : {}),
    ...(stateful ? { statefulSnapshot: lastPart(stateful.name) } : {}),
    bytes: usage >= 0 ? usage : null,
    snapshotBytes: null,
    ...(changes.length > 0 ? { changes } : {}),
  };
}

/** What was written in a container since its migration. Bytes. */
export interface WrittenSince {
  /** When it was migrated, ISO 8601. */
  since: string;
  /** Files whose inode changed since; null where they could not be counted in time. */
  files: number | null;
  bytes: number | null;
}
