import { VisibleError } from "../errors.ts";
import type { Instance } from "../incus/schemas.ts";

type Device = Record<string, string>;

/** Name and settings of the expanded root disk. @throws VisibleError where there is none */
export function rootDevice(instance: Pick<Instance, "name" | "expanded_devices">): [string, Device] {
  const found = Object.entries(instance.expanded_devices).find(([, device]) => isRoot(device));
  if (found) return found;
  throw new VisibleError(`Instance "${instance.name}" has no root disk device.`);
}

/** The pool that an instance is on. */
export function rootPool(instance: Pick<Instance, "name" | "expanded_devices">): string {
  return rootDevice(instance)[1]["pool"] ?? "";
}

/** True where the root disk comes from a profile, which therefore cannot be pointed at another pool. */
export function inheritsRoot(instance: Pick<Instance, "devices">): boolean {
  return !Object.values(instance.devices).some(isRoot);
}

function isRoot(device: Device): boolean {
  return device["type"] === "disk" && device["path"] === "/" && device["pool"] !== undefined;
}
