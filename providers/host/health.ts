import { checkServer } from "../incus/admission.ts";
import type { IncusClient } from "../incus/client.ts";
import { api } from "../incus/paths.ts";
import type { RequestOptions } from "../incus/requests.ts";
import { Instance, Server, StoragePool } from "../incus/schemas.ts";
import { type ClockLook, readClock } from "../incus/server.ts";
import { openHostFiles } from "./files.ts";
import { lookAtMachine, type MachineHealth } from "./machine-health.ts";
import { lookAtParked, type ParkedHealth } from "./parked-health.ts";
import { lookAtPoolHealth, type PoolHealth } from "./pool-health.ts";

/** What one read-only look at a host's health showed: plain JSON without a secret. */
export interface HealthLook {
  server: { version: string; kernel: string };
  clock: ClockLook;
  runningContainers: number;
  pools: PoolHealth[];
  parked: ParkedHealth[];
  /** Null where this connection does not reach the host's files: then nothing of btrfs and loop files is known either. */
  machine: MachineHealth | null;
}

export interface HealthOptions {
  /** Milliseconds for the whole look. */
  deadline: number;
  /** Names of the kernel limits to read. */
  limits: readonly string[];
}

/**
 * Looks at a host's health without writing: four requests and one for each pool, and where its files can be read seven
 * commands at most and three for each btrfs pool, in parallel.
 * @throws UnreachableError, DeadlineError, VisibleError where the daemon does not trust this client
 */
export async function lookAtHealth(client: IncusClient, options: HealthOptions): Promise<HealthLook> {
  const until = Date.now() + options.deadline;
  const asking = (query = {}): RequestOptions => ({ query, deadline: Math.max(1, until - Date.now()) });
  const server = await client.get("/1.0", Server, asking());
  await checkServer(client, server);
  const [clock, pools, instances, files] = await Promise.all([
    readClock(client, asking()),
    client.list(api("storage-pools"), StoragePool, asking({ recursion: 1 })),
    client.list(api("instances"), Instance, asking({ recursion: 1, "all-projects": "true" })),
    openHostFiles(client),
  ]);
  const { server_version: version = "", kernel_version: kernel = "" } = server.environment ?? {};
  const [poolLooks, parked, machine] = await Promise.all([
    lookAtPoolHealth(client, pools, files, asking()),
    lookAtParked(instances, pools, files, Math.max(1, until - Date.now())),
    files ? lookAtMachine(files, version, options.limits) : null,
  ]);
  return {
    server: { version, kernel },
    clock,
    runningContainers: instances.filter(({ type, status }) => type === "container" && status === "Running")
      .length,
    pools: poolLooks,
    parked,
    machine,
  };
}
