import { type HostLook, type InstanceLook, missingSourcesRefusal, startRefusal } from "@taos-hosts/providers";

/** Why Incus would not start a container again, once it is stopped, with the way out. */
export function startConflict(
  look: HostLook,
  instance: InstanceLook,
): { reason: string; remedy: string } | undefined {
  const ownNetworks = look.projects.filter((one) => one.ownNetworks).map(({ name }) => name);
  if (instance.missing && instance.status === "Running")
    return missingSourcesRefusal(instance.name, instance.missing);
  return startRefusal(instance, look.instances, { networks: look.networks, ownNetworks });
}
