import { type HostConfig, parseHosts } from "../../../infra/config/config.ts";
import type { HostLook, InstanceLook, PoolLook } from "../../../providers/index.ts";
import { HOST, rootDevice, settled, UNSIZED } from "./world.ts";

const GIB = 1024 ** 3;

export function hostConfig(raw: unknown): HostConfig {
  const host = parseHosts({ [HOST]: raw })[HOST];
  if (!host) throw new Error("no host");
  return host;
}

/** A container on pool `default` that inherits its root disk, with one snapshot. */
export function container(name: string, change: Partial<InstanceLook> = {}): InstanceLook {
  return {
    ...{
      name,
      project: "default",
      type: "container",
      status: "Running",
      ephemeral: false,
      profiles: ["default"],
      config: { "volatile.uuid": "5d0c1a52-7d0b-4f3e-9a57-3f1d2c9b8e70" },
    },
    ...{
      hasRawIdmap: false,
      devices: rootDevice("default", "default"),
      root: { pool: "default", profile: "default", sizeBytes: null },
    },
    ...{ snapshots: ["taos-archive-1"], backups: [], bytes: 2 * GIB, snapshotBytes: GIB },
    ...change,
  };
}

export function poolLook(name: string, driver: string, change: Partial<PoolLook> = {}): PoolLook {
  return {
    ...{
      name,
      driver,
      status: "Created",
      source: `/var/lib/incus/storage-pools/${name}`,
      owner: null,
      sizes: UNSIZED,
      freeBytes: 90 * GIB,
    },
    ...{
      visible: true,
      usedBy: [],
      volumes: [],
      volumeSnapshots: [],
      buckets: [],
      warm: [],
      leftovers: driver === "dir" ? [] : null,
    },
    ...change,
  };
}

/** The board of the request: a dir pool with mary, naira and stanley, each placed otherwise. */
export function board(
  instances: InstanceLook[] = boardContainers(),
  change: Partial<HostLook> = {},
): HostLook {
  return settled({
    server: { name: HOST, version: "6.0.4", kernel: "6.1.115-rk35xx" },
    projects: [
      { name: "default", ownProfiles: true, ownImages: true },
      { name: "user-1000", ownProfiles: true, ownImages: false },
    ],
    pools: [poolLook("default", "dir")],
    instances,
    profiles: ["default", "user-1000"].map((project) => ({
      ...{
        name: "default",
        project,
        disks: { root: { path: "/", pool: "default" } },
        networks: ["incusbr0"],
      },
    })),
    images: [{ fingerprint: "f1", project: "default", aliases: ["taos-openclaw-base"], bytes: GIB }],
    networks: [{ name: "incusbr0", type: "bridge", managed: true }],
    daemonVolumes: [],
    usableDrivers: ["btrfs", "dir"],
    hostFreeBytes: 90 * GIB,
    unprivileged: false,
    filesReadable: true,
    strays: [],
    ...change,
  });
}

export function boardContainers(): InstanceLook[] {
  return [
    container("mary"),
    container("naira", { status: "Stopped", snapshots: [], snapshotBytes: 0 }),
    container("stanley", { project: "user-1000" }),
  ];
}
