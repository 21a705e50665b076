import type { Instance, Profile } from "./schemas.ts";

type Devices = Record<string, Record<string, string>>;

/** The root disk device among devices: type disk, path `/`, with a pool. It is found by what it is, never by its name. */
export function rootDisk(
  devices: Devices,
): { name: string; device: Record<string, string>; pool: string } | undefined {
  for (const [name, device] of Object.entries(devices)) {
    const pool = device["pool"];
    if (device["type"] === "disk" && device["path"] === "/" && pool) return { name, device, pool };
  }
  return undefined;
}

/** Names of the root disks that profiles give, in the order in which an instance has them: later ones override by name. */
export function givenRoots(profiles: readonly Devices[]): string[] {
  const expanded: Devices = Object.assign({}, ...profiles);
  return Object.entries(expanded).flatMap(([name, device]) => (rootDisk({ [name]: device }) ? [name] : []));
}

/**
 * Name under which an instance's own root disk takes the place of its profiles' one: Incus merges devices by name and
 * refuses two root disks, whatever they are called.
 * @returns undefined where the profiles give two, which nothing can override
 */
export function ownRootName(profiles: readonly Devices[]): string | undefined {
  const given = givenRoots(profiles);
  if (given.length > 1) return undefined;
  const isTaken = profiles.some((devices) => devices["root"] !== undefined);
  return given[0] ?? (isTaken ? "taos-root" : "root");
}

/** True where the instance's root disk comes from a profile, so that the profile's pool cannot be changed. */
export function inheritsRoot(instance: Pick<Instance, "devices" | "expanded_devices">): boolean {
  return rootDisk(instance.devices) === undefined && rootDisk(instance.expanded_devices) !== undefined;
}

/**
 * Instances that inherit their root disk from this profile: they use it, have no local root, and no later profile
 * gives one (Incus applies profiles in order).
 * @param profileProject the project whose profiles the instance's project uses, by instance project
 */
export function inheritors(
  profile: Pick<Profile, "name" | "project">,
  instances: readonly Instance[],
  profiles: readonly Profile[],
  profileProject: (project: string) => string,
): Instance[] {
  return instances.filter((instance) => {
    if (!inheritsRoot(instance) || profileProject(instance.project) !== profile.project) return false;
    const giver = instance.profiles.findLast((name) =>
      profiles.some(
        (one) => one.name === name && one.project === profile.project && rootDisk(one.devices) !== undefined,
      ),
    );
    return giver === profile.name;
  });
}

/** `name` in the default project, `project/name` elsewhere. */
export function qualifiedName(object: { project: string; name: string }): string {
  return object.project === "default" ? object.name : `${object.project}/${object.name}`;
}
