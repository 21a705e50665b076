import { z } from "zod";
import { missingSources, missingSourcesRefusal, workingPools } from "../host/device-sources.ts";
import type { HostFiles } from "../host/files.ts";
import { type NicHolder, nicsOf, startRefusal } from "../host/nic-conflicts.ts";
import type { IncusClient } from "../incus/client.ts";
import { listInstances } from "../incus/instances.ts";
import { api } from "../incus/paths.ts";
import { listPools } from "../incus/pools.ts";
import { type Instance, Network, Project } from "../incus/schemas.ts";

/** Why Incus would not start a container again, once it is stopped, with the way out. Looks at all projects. */
export async function startConflict(
  client: IncusClient,
  files: HostFiles,
  instance: Instance,
): Promise<{ reason: string; remedy: string } | undefined> {
  const query = { recursion: 1 };
  const [instances, networks, projects] = await Promise.all([
    listInstances(client),
    client.get(api("networks"), z.array(Network).nullable(), { query }),
    client.get(api("projects"), z.array(Project), { query }),
  ]);
  const [missing = []] = await missingSources(files, [instance.expanded_devices], {
    interfaces: (networks ?? []).map(({ name }) => name),
    pools: workingPools(await listPools(client)),
  });
  if (missing.length > 0 && instance.status === "Running")
    return missingSourcesRefusal(instance.name, missing);
  const holder = (one: Instance): NicHolder => ({ name: one.name, project: one.project, nics: nicsOf(one) });
  const ownNetworks = projects
    .filter(({ name, config }) => name !== "default" && config["features.networks"] === "true")
    .map(({ name }) => name);
  return startRefusal(holder(instance), instances.map(holder), { networks: networks ?? [], ownNetworks });
}
