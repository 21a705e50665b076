import type { IncusDaemon } from "./daemon.ts";

/** How a host was set up before taos-hosts came to it. */
export type HostSetup = {
  driver: "dir" | "btrfs";
  /** Name of the pool. @default "default" */
  pool?: string;
  /** Size of the btrfs loop file, as Incus writes it. @default "2GiB" */
  size?: string;
};

/** Sets a virgin daemon up as `incus admin init` does: one pool, bridge incusbr0, default profile with root disk and eth0. */
export async function setUpHost(
  daemon: IncusDaemon,
  { driver, pool = "default", size = "2GiB" }: HostSetup,
): Promise<void> {
  await daemon.incus("storage", "create", pool, driver, ...(driver === "dir" ? [] : [`size=${size}`]));
  await daemon.incus("network", "create", "incusbr0", "ipv6.address=none");
  await daemon.incus("profile", "device", "add", "default", "root", "disk", "path=/", `pool=${pool}`);
  await daemon.incus("profile", "device", "add", "default", "eth0", "nic", "network=incusbr0", "name=eth0");
}
