import type { HostLook, InstanceLook } from "@taos-hosts/providers";
import { migrationOf } from "./parked.ts";

export function findInstance(look: HostLook, project: string, name: string): InstanceLook | undefined {
  return look.instances.find((one) => one.name === name && one.project === project);
}

/** An instance with the journal of this container's migration, where one is under way. */
export function interruptedOf(look: HostLook, project: string, name: string): InstanceLook | undefined {
  return look.instances.find((one) => one.project === project && migrationOf(one) === name);
}
