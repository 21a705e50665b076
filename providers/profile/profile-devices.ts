import { z } from "zod";
import { VisibleError } from "../common/errors.ts";
import { ObjectName, PoolName } from "../common/names.ts";
import type { IncusClient } from "../incus/client.ts";
import { listInstances } from "../incus/instances.ts";
import { changeProfile, findProfile, listProfiles } from "../incus/profiles.ts";
import { inheritors, qualifiedName, rootDisk } from "../incus/root-disk.ts";
import type { Profile } from "../incus/schemas.ts";
import { listProjects } from "../incus/server.ts";
import { shared } from "../incus/shared.ts";
import { addedDevices, DEVICES_KEY } from "../marks/keys.ts";
import { defineResource } from "../pulumi/definition.ts";
import { changedFields } from "../pulumi/drift.ts";
import { CommonArgs, type CommonState, type Lifecycle } from "../pulumi/lifecycle.ts";
import { progressFor } from "../pulumi/progress.ts";
import { profileNeeds, profileUseOf } from "./needs.ts";

/**
 * A profile has a root disk and a network interface. Missing ones are added as long as no instance has the profile
 * (what was added once is put back then, too); what is there is never changed, with one
 * exception: after a migration (`repointFrom`), root disks that name the old pool are re-pointed in the profiles of
 * every project, as soon as no instance inherits them.
 *
 * @example
 * new ProfileDevices("orange-1/profile", { host, owner, project: "default", profile: "default", pool: "default", network: "incusbr0" });
 */
export const ProfileDevicesArgs = CommonArgs.extend({
  project: ObjectName.default("default"),
  profile: ObjectName.default("default"),
  /** Pool for the root disk where the profile has none. */
  pool: PoolName,
  /** Network for `eth0` where the profile has no network interface. */
  network: ObjectName,
  /** Old pool whose profiles are re-pointed to `pool`; unset where no migration is opted in. */
  repointFrom: PoolName.optional(),
  /** Add nothing: the host is only reported on. @default false */
  leave: z.boolean().default(false),
  /** Where the stack's containers are: a change of it makes this resource look again. */
  placements: z.record(z.string(), z.string()).default({}),
});
export type ProfileDevicesArgs = z.infer<typeof ProfileDevicesArgs>;

interface ProfileDevicesState extends ProfileDevicesArgs, CommonState {
  /** Devices that this resource added and its deletion removes. */
  added: string[];
  /** Pool of the profile's root disk on the host. */
  rootPool: string;
  /** Instances that still inherit a root disk on the old pool. */
  inheriting: string[];
  /** What the last refresh found missing, or free to be re-pointed. */
  drift: string[];
}

interface Repoint {
  profile: Profile;
  inheriting: string[];
}

/** Profiles whose root disk names the old pool, with the instances that keep each from being re-pointed. */
async function findRepoints(args: ProfileDevicesArgs, client: IncusClient): Promise<Repoint[]> {
  const { repointFrom } = args;
  if (repointFrom === undefined || repointFrom === args.pool) return [];
  const [profiles, instances, projects] = await Promise.all([
    shared(client, "profiles", listProfiles),
    shared(client, "instances", listInstances),
    shared(client, "projects", listProjects),
  ]);
  const withOwnProfiles = new Set(
    projects.filter(({ config }) => config["features.profiles"] !== "false").map(({ name }) => name),
  );
  const profileProject = (project: string): string => (withOwnProfiles.has(project) ? project : "default");
  return profiles
    .filter((profile) => profile.project === profileProject(profile.project))
    .filter((profile) => rootDisk(profile.devices)?.pool === repointFrom)
    .map((profile) => ({
      profile,
      inheriting: inheritors(profile, instances, profiles, profileProject).map(qualifiedName),
    }));
}

async function modifyProfile(
  client: IncusClient,
  project: string,
  name: string,
  modify: (profile: Profile) => Profile | undefined,
): Promise<Profile> {
  const changed = await changeProfile(client, project, name, modify);
  if (changed) return changed;
  throw new VisibleError(
    `Profile "${name}" does not exist in project "${project}". Create it, or name another one.`,
  );
}

function freeDeviceName(devices: Profile["devices"], wanted: string): string {
  return wanted in devices ? `taos-${wanted}` : wanted;
}

/** The profile with its missing devices, or undefined where none is missing. */
function withMissingDevices(profile: Profile, args: ProfileDevicesArgs): Profile | undefined {
  const needs = args.leave ? [] : profileNeeds(profileUseOf(profile));
  if (needs.length === 0) return undefined;
  const devices = { ...profile.devices };
  const added = new Set(addedDevices(profile));
  if (needs.includes("root")) {
    const name = freeDeviceName(devices, "root");
    devices[name] = { type: "disk", path: "/", pool: args.pool };
    added.add(name);
  }
  if (needs.includes("eth0")) {
    const name = freeDeviceName(devices, "eth0");
    devices[name] = { type: "nic", name: "eth0", network: args.network };
    added.add(name);
  }
  return { ...profile, devices, config: { ...profile.config, [DEVICES_KEY]: [...added].sort().join(",") } };
}

async function ensure(args: ProfileDevicesArgs, client: IncusClient): Promise<ProfileDevicesState> {
  const progress = progressFor(args.host.name, `profile ${args.profile}`);
  let profile = await modifyProfile(client, args.project, args.profile, (one) =>
    withMissingDevices(one, args),
  );
  const inheriting = new Set<string>();
  for (const repoint of await findRepoints(args, client)) {
    const { name, project } = repoint.profile;
    if (repoint.inheriting.length > 0) {
      for (const instance of repoint.inheriting) inheriting.add(instance);
      continue;
    }
    progress(
      `root disk of profile ${qualifiedName(repoint.profile)} goes from pool ${args.repointFrom} to ${args.pool}`,
    );
    const changed = await modifyProfile(client, project, name, (one) => {
      const root = rootDisk(one.devices);
      if (!root || root.pool !== args.repointFrom) return undefined;
      return { ...one, devices: { ...one.devices, [root.name]: { ...root.device, pool: args.pool } } };
    });
    if (name === args.profile && project === args.project) profile = changed;
  }
  return {
    ...args,
    added: addedDevices(profile),
    rootPool: rootDisk(profile.devices)?.pool ?? "",
    inheriting: [...inheriting].sort(),
    drift: [],
  };
}

function pick(record: Record<string, string>, keys: readonly string[]): Record<string, string> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => keys.includes(key)));
}

const lifecycle: Lifecycle<ProfileDevicesArgs, ProfileDevicesState> = {
  diff(state, args) {
    const moved = (["project", "profile"] as const).filter((key) => state[key] !== args[key]);
    if (moved.length > 0) return { changes: true, replaces: moved };
    // A container that the config no longer lists stays as it is, and so does the profile.
    const listed = Object.keys(args.placements);
    const before = { ...state, placements: pick(state.placements ?? {}, listed) };
    return { changes: state.drift.length > 0 || changedFields(before, args).length > 0 };
  },

  async create(args, client) {
    return { id: `${args.project}/${args.profile}`, state: await ensure(args, client) };
  },

  async read(_id, state, client) {
    const profiles = await shared(client, "profiles", listProfiles);
    const profile = profiles.find((one) => one.name === state.profile && one.project === state.project);
    if (!profile) return undefined;
    const missing = withMissingDevices(profile, state);
    const repoints = await findRepoints(state, client);
    const drift = [
      ...(missing
        ? Object.keys(missing.devices)
            .filter((name) => !(name in profile.devices))
            .map((name) => `device ${name} is missing`)
        : []),
      ...repoints
        .filter(({ inheriting }) => inheriting.length === 0)
        .map(
          (repoint) => `profile ${qualifiedName(repoint.profile)} can be re-pointed to pool ${state.pool}`,
        ),
    ];
    const inheriting = [...new Set(repoints.flatMap((repoint) => repoint.inheriting))].sort();
    return { ...state, drift, inheriting, rootPool: rootDisk(profile.devices)?.pool ?? "" };
  },

  async update(_id, _state, args, client) {
    return ensure(args, client);
  },

  async delete(_id, state, client) {
    const found = await findProfile(client, state.project, state.profile);
    if (!found) return;
    const added = addedDevices(found.value);
    if (added.length === 0) return;
    const instances = await listInstances(client);
    const users = instances.filter(
      (one) =>
        one.project === state.project &&
        one.profiles.includes(state.profile) &&
        rootDisk(one.devices) === undefined,
    );
    if (users.length > 0) {
      progressFor(
        state.host.name,
        `profile ${state.profile}`,
      )(`its devices stay: used by ${users.map(qualifiedName).join(", ")}`);
      return;
    }
    await modifyProfile(client, state.project, state.profile, (profile) => {
      const { [DEVICES_KEY]: _mark, ...config } = profile.config;
      const devices = Object.fromEntries(
        Object.entries(profile.devices).filter(([name]) => !added.includes(name)),
      );
      return { ...profile, config, devices };
    });
  },
};

export const profileDevices = defineResource("ProfileDevices", ProfileDevicesArgs, lifecycle, [
  "rootPool",
  "inheriting",
]);
