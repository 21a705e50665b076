import { z } from "zod";
import type { Change } from "../incus/instance-patch.ts";
import { rootDevice } from "../incus/root-device.ts";
import type { Instance } from "../incus/schemas.ts";
import { parkedIdentity, standingOf } from "./identity.ts";
import { Originals } from "./journal.ts";
import { PARKED_KEY } from "./keys.ts";

/** What a parked instance says of itself, in `user.taos.parked`. */
export const ParkedRecord = z.object({
  /** The name it had, in `project`. */
  name: z.string(),
  project: z.string(),
  pool: z.string(),
  /** Where its successor is; absent where it was parked for a replacement. */
  successorPool: z.string().optional(),
  /** `undone`: it was the container since a migration, and its source is that again. */
  reason: z.enum(["migrated", "replaced", "undone"]),
  /** ISO 8601. */
  at: z.string(),
  owner: z.string(),
  /** Whether bringing it back includes starting it. */
  wasRunning: z.boolean(),
  originals: Originals,
});
export type ParkedRecord = z.infer<typeof ParkedRecord>;

/**
 * The record on an instance, or undefined where it is not a parked one. A copy of a parked one is none, nor is one
 * that was put back to a snapshot.
 */
export function parkedRecordOf(instance: { config: Record<string, string> }): ParkedRecord | undefined {
  const text = instance.config[PARKED_KEY];
  if (!text) return undefined;
  try {
    const record = ParkedRecord.parse(JSON.parse(text));
    const named = parkedIdentity(record.originals.config);
    return standingOf(instance, named) === "own" ? record : undefined;
  } catch {
    return undefined;
  }
}

/** Keys that parking changes by itself, or that Incus changes at a rename. */
const CHANGED = [
  "boot.autostart",
  "snapshots.schedule.stopped",
  "volatile.apply_template",
  "volatile.cloud-init.instance-id",
];

/** What has to be kept of an instance before it is parked. */
export function originalsOf(instance: Instance): Originals {
  const config: Record<string, string> = {};
  for (const key of CHANGED) config[key] = instance.config[key] ?? "";
  for (const [key, value] of Object.entries(instance.config)) {
    if (key.startsWith("volatile.") && !isTransient(key)) config[key] = value;
  }
  return { config, devices: instance.devices };
}

/** State of a run that means nothing once stopped, or that Incus makes anew at each start. */
function isTransient(key: string): boolean {
  return key.endsWith(".host_name") || key.includes(".last_state.");
}

/** Config of the originals that can be put back at any time, so without the instance's identity. */
export function withoutIdentity(originals: Originals): Record<string, string> {
  const settings = Object.entries(originals.config);
  return Object.fromEntries(
    settings.filter(([key]) => !key.startsWith("volatile.") || key.endsWith(".hwaddr")),
  );
}

/**
 * The identity among the originals. Incus makes a new instance-id for cloud-init when settings change, so it is
 * written last.
 * @param settled the instance once its settings were written
 * @param now the instance at this moment
 */
export function identityConfig(
  originals: Originals,
  settled: Instance,
  now: Instance,
): Record<string, string> {
  const identity = Object.entries(originals.config).filter(
    ([key, value]) => key.startsWith("volatile.") && (value !== "" || settled.config[key]),
  );
  const stale = now.config["volatile.apply_template"] ? { "volatile.apply_template": "" } : {};
  return { ...stale, ...Object.fromEntries(identity) };
}

/**
 * What parking writes on an instance: its record, and what takes from it all that its successor needs for itself and
 * all that would let it act: MAC and static addresses, autostart, scheduled snapshots. Its root disk becomes a local
 * device, so it blocks no profile.
 */
export function parkedChange(
  instance: Instance,
  about: Omit<ParkedRecord, "at" | "originals">,
  originals = originalsOf(instance),
): Required<Pick<Change, "config" | "devices">> {
  const record: ParkedRecord = { ...about, at: new Date().toISOString(), originals };
  const config: Record<string, string> = {
    ...{ "boot.autostart": "false", "snapshots.schedule.stopped": "false" },
    [PARKED_KEY]: JSON.stringify(record),
  };
  // Two instances with owner maps of their own cannot share a volume, and the successor gets another map.
  const isolated = instance.expanded_config["security.idmap.isolated"] === "true";
  const [rootName, root] = rootDevice(instance);
  const devices: Instance["devices"] = { ...instance.devices, [rootName]: root };
  for (const [name, device] of Object.entries(instance.expanded_devices)) {
    if (instance.config[`volatile.${name}.hwaddr`]) config[`volatile.${name}.hwaddr`] = "";
    if (isExclusive(device) || (isolated && isCustomVolume(device))) devices[name] = { type: "none" };
  }
  return { config, devices };
}

function isCustomVolume(device: Record<string, string>): boolean {
  return device["type"] === "disk" && device["path"] !== "/" && device["pool"] !== undefined;
}

/** Devices that Incus accepts on one instance only even while it is stopped, and proxies that need such a NIC. */
function isExclusive(device: Record<string, string>): boolean {
  if (device["type"] === "proxy") return device["nat"] === "true";
  return device["type"] === "nic" && ["ipv4.address", "ipv6.address", "hwaddr"].some((key) => device[key]);
}
