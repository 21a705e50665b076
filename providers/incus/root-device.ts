import { VisibleError } from "../common/errors.ts";
import { rootDisk } from "./root-disk.ts";
import type { Instance } from "./schemas.ts";

/** Name and settings of the expanded root disk. @throws VisibleError where there is none */
export function rootDevice(
  instance: Pick<Instance, "name" | "expanded_devices">,
): [string, Record<string, string>] {
  const found = rootDisk(instance.expanded_devices);
  if (found) return [found.name, found.device];
  throw new VisibleError(`Instance "${instance.name}" has no root disk device.`);
}

/** The pool that an instance is on. */
export function rootPool(instance: Pick<Instance, "name" | "expanded_devices">): string {
  return rootDevice(instance)[1]["pool"] ?? "";
}
