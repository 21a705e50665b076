import { VisibleError } from "../common/errors.ts";
import type { IncusClient } from "../incus/client.ts";
import { listProfiles } from "../incus/profiles.ts";
import { givenRoots, ownRootName, rootDisk } from "../incus/root-disk.ts";
import type { Instance } from "../incus/schemas.ts";
import { listProjects } from "../incus/server.ts";
import { shared } from "../incus/shared.ts";
import type { InstanceArgs } from "./config.ts";

/**
 * Name of the root disk that an instance with these profiles has of its own.
 * @throws VisibleError where a profile does not exist, or they give two root disks
 */
export async function rootNameFor(
  client: IncusClient,
  { name, project, profiles }: Pick<InstanceArgs, "name" | "project" | "profiles">,
): Promise<string> {
  const [all, projects] = await Promise.all([
    shared(client, "profiles", listProfiles),
    shared(client, "projects", listProjects),
  ]);
  const own = projects.find((one) => one.name === project)?.config["features.profiles"] !== "false";
  const devices = profiles.map((profile) => {
    const found = all.find((one) => one.name === profile && one.project === (own ? project : "default"));
    if (found) return found.devices;
    throw new VisibleError(
      `Instance "${name}": profile "${profile}" is not in project "${own ? project : "default"}". Create it, or name another one under profiles.`,
    );
  });
  const root = ownRootName(devices);
  if (root !== undefined) return root;
  throw new VisibleError(
    `Instance "${name}": its profiles ${profiles.join(", ")} give two root disks, ${givenRoots(devices).join(" and ")}, and Incus takes one. Give both devices one name, or take one of the profiles out.`,
  );
}

/** Name of the root disk that a live instance has of its own, or would have in place of its profiles' one. */
export function liveRootName(live: Pick<Instance, "devices" | "expanded_devices">): string {
  return (rootDisk(live.devices) ?? rootDisk(live.expanded_devices))?.name ?? "root";
}
