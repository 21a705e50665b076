import { type HostLook, listed, type ProfileLook, profileNeeds, qualifiedName } from "@taos-hosts/providers";
import type { PoolPlan } from "./pools.ts";
import { profileProject, type Scene } from "./scene.ts";
import type { ContainerPlan } from "./types.ts";
import { bridgeWish } from "./wishes.ts";
import { MOST_NAMED } from "./words.ts";

type Device = ReturnType<typeof profileNeeds>[number];

/** What becomes of profiles. */
export interface ProfilePlan {
  /** Devices that the default profile of project default gets. */
  added: readonly Device[];
  /** Qualified names of profiles whose root disk goes to the effective pool. */
  repointed: ReadonlySet<string>;
}

/**
 * The bridge and the default profile's devices: made where they are missing, never changed, and no bridge beside an
 * interface that the profile has, unless the config names one. A host whose pool is left gets neither.
 * @returns the devices that are added
 */
export function planNetwork(
  { host, look, findings }: Scene,
  { main, cow, effective }: PoolPlan,
): readonly Device[] {
  if (main.action === "leave" && cow === null) return [];
  const { name, ifNeeded } = bridgeWish(host);
  const profile = defaultProfile(look, "default");
  const users = profile ? usersOf(profile, look).map(qualifiedName) : [];
  const hasInterface = (profile?.networks.length ?? 0) > 0;
  const missing = profile
    ? profileNeeds({
        hasRoot: rootPool(profile) !== undefined,
        hasInterface,
        added: profile.added ?? [],
        isUsed: users.length > 0,
      })
    : [];
  const isUnwanted = ifNeeded && profile && !missing.includes("eth0") && !profile.networks.includes(name);
  if (!isUnwanted && !look.networks.some((network) => network.name === name)) {
    const object = `network ${name}`;
    findings.act("create-network", { object }, "there is no such bridge", { detail: name });
  }
  if (!profile || !effective) return [];
  if (missing.length > 0) {
    const reason = `it has no ${missing.join(" and no ")}`;
    const more = { detail: missing.join(","), pool: effective.name };
    findings.act("add-profile-devices", { object: "profile default" }, reason, more);
  }
  if (!hasInterface && !missing.includes("eth0")) {
    findings.remarks.push(
      `profile default has no network interface and is left so: ${listed(users, MOST_NAMED)} would get one, too. incus profile device add default eth0 nic network=… name=eth0 adds it`,
    );
  }
  return missing;
}

/**
 * After a migration, profiles whose root disk names the old pool are re-pointed, each once no instance takes its root
 * disk from it any more. Until then new launches go where they went, and the remark says who is in the way.
 * @returns qualified names of those that are re-pointed
 */
export function planProfiles(
  { look, findings }: Scene,
  { effective, name: old, cow }: PoolPlan,
  { moves, pinned }: ContainerPlan,
): Set<string> {
  const repointed = new Set<string>();
  if (cow === null || !effective || effective.name === old) return repointed;
  for (const profile of look.profiles) {
    if (rootPool(profile) !== old) continue;
    const inheriting = usersOf(profile, look)
      .filter(({ root }) => root?.profile === profile.name)
      .map(qualifiedName)
      .filter((name) => !moves.has(name) && !pinned.has(name));
    const detail = qualifiedName(profile);
    const object = `profile ${detail}`;
    if (inheriting.length === 0) {
      repointed.add(detail);
      const reason = `new launches go to pool ${effective.name}`;
      findings.act("repoint-profile", { object }, reason, { pool: effective.name, detail });
    } else {
      findings.remarks.push(
        `${object} stays on pool ${old}, so new launches go there: ${listed(inheriting, MOST_NAMED)} take their root disk from it. optIn.pinRoot or optIn.migrate frees it.`,
      );
    }
  }
  return repointed;
}

/** Instances that have this profile. */
function usersOf(profile: ProfileLook, look: HostLook): HostLook["instances"] {
  return look.instances.filter(
    ({ profiles, project }) =>
      profiles.includes(profile.name) && profileProject(look, project) === profile.project,
  );
}

/** The default profile that containers of a project have. */
export function defaultProfile(look: HostLook, project: string): ProfileLook | undefined {
  return look.profiles.find((one) => one.name === "default" && one.project === project);
}

/** The pool that a profile's root disk names. */
export function rootPool(profile: ProfileLook): string | undefined {
  return Object.values(profile.disks).find((disk) => disk["path"] === "/" && disk["pool"])?.["pool"];
}
