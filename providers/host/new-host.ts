import { isUnprivileged, kernelHasBtrfs } from "./drivers.ts";
import type { HostLook } from "./look.ts";
import type { HostMachine } from "./machine.ts";

/** What a look shows of a host on which Incus has just been installed: its default project and profile, and nothing else. */
export async function newHostLook(machine: HostMachine): Promise<HostLook> {
  const [hasBtrfs, hostFreeBytes, unprivileged] = await Promise.all([
    kernelHasBtrfs(machine),
    machine.freeBytes("/var/lib"),
    isUnprivileged(machine),
  ]);
  return {
    server: { name: "", version: "", kernel: "" },
    projects: [{ name: "default", ownProfiles: true, ownImages: true }],
    profiles: [{ name: "default", project: "default", disks: {}, networks: [] }],
    ...{ pools: [], instances: [], images: [], networks: [], daemonVolumes: [], strays: [], recreations: [] },
    usableDrivers: hasBtrfs ? ["btrfs", "dir"] : ["dir"],
    hostFreeBytes,
    unprivileged,
    filesReadable: true,
  };
}
