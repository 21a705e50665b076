import { createHash } from "node:crypto";
import type { IncusClient } from "../incus/client.ts";
import { listImages } from "../incus/images.ts";
import { listInstances } from "../incus/instances.ts";
import { listLeases, listNetworks } from "../incus/networks.ts";
import { listPools, listWarmFingerprints } from "../incus/pools.ts";
import { listProfiles } from "../incus/profiles.ts";
import { getServer, listProjects } from "../incus/server.ts";

/**
 * SHA-256 of all that a refresh of resources reads of a host by its API: the same lists by the same schemas, so where
 * it is as before, every `read` gives what it gave before. A constant number of requests, one more for each pool, and
 * for each managed network one for each project that has instances. What the daemon tells of itself anew at each start
 * is left out.
 */
export async function hostFingerprint(client: IncusClient): Promise<string> {
  const [{ config, auth, environment }, projects, pools, instances, profiles, images, networks] =
    await Promise.all([
      getServer(client),
      listProjects(client),
      listPools(client),
      listInstances(client),
      listProfiles(client),
      listImages(client),
      listNetworks(client),
    ]);
  const { server_pid: _pid, ...server } = environment ?? {};
  // Incus gives of a network the leases of one project's instances at a time.
  const homes = new Set(instances.map(({ project }) => project));
  const leased = networks
    .filter(({ managed }) => managed)
    .flatMap(({ name }) => [...homes].map((project) => ({ name, project })));
  const [warm, leases] = await Promise.all([
    Promise.all(pools.map(async ({ name }) => [name, await listWarmFingerprints(client, name)])),
    Promise.all(
      leased.map(async (one) => [one, await listLeases(client, one.name, one.project).catch(() => [])]),
    ),
  ]);
  // Interfaces of single containers come and go.
  const bridges = networks.filter(({ managed, type }) => managed || type === "bridge");
  const read = { config, auth, server, projects, pools, instances, profiles, images, bridges, warm, leases };
  return createHash("sha256").update(JSON.stringify(read, inOrder)).digest("hex");
}

/** Incus gives users in any order. */
function inOrder(key: string, value: unknown): unknown {
  return key === "used_by" && Array.isArray(value) ? value.toSorted() : value;
}
