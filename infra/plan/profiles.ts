import { type HostLook, listed, type ProfileLook, profileNeeds, qualifiedName } from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";
import { bridgeWish } from "./bridge-wish.ts";
import type { EffectivePool, PoolPlan } from "./pools.ts";
import { profileProject } from "./projects.ts";
import { type ContainerPlan, type Findings, noFindings } from "./types.ts";

/**
 * The bridge and the default profile's devices: made where they are missing, never changed, and no bridge beside an
 * interface that the profile has, unless the config names one. A host whose pool is left gets neither.
 */
export function planNetwork(
  host: HostConfig,
  look: HostLook,
  effective: EffectivePool | undefined,
  isLeft: boolean,
): Findings {
  const findings = noFindings();
  if (isLeft) return findings;
  const { name, ifNeeded } = bridgeWish(host);
  const profile = defaultProfile(look, "default");
  const users = profile ? usersOf(profile, look) : [];
  const hasInterface = (profile?.networks.length ?? 0) > 0;
  const missing = profile
    ? profileNeeds({
        ...{ hasRoot: hasRoot(profile), hasInterface },
        ...{ added: profile.added ?? [], isUsed: users.length > 0 },
      })
    : [];
  const isUnwanted = ifNeeded && profile && !missing.includes("eth0") && !profile.networks.includes(name);
  if (!isUnwanted && !look.networks.some((network) => network.name === name)) {
    findings.actions.push({
      kind: "create-network",
      object: `network ${name}`,
      detail: name,
      reason: "there is no such bridge",
    });
  }
  if (!profile || !effective) return findings;
  if (missing.length > 0) {
    findings.actions.push({
      kind: "add-profile-devices",
      object: "profile default",
      detail: missing.join(","),
      pool: effective.name,
      reason: `it has no ${missing.join(" and no ")}`,
    });
  }
  if (!hasInterface && !missing.includes("eth0")) {
    findings.remarks.push(
      `profile default has no network interface and is left so: ${listed(users, 6)} would get one, too. incus profile device add default eth0 nic network=… name=eth0 adds it`,
    );
  }
  return findings;
}

/** Instances that have this profile, by qualified name. */
function usersOf(profile: ProfileLook, look: HostLook): string[] {
  return look.instances
    .filter(
      ({ profiles, project }) =>
        profiles.includes(profile.name) && profileProject(look, project) === profile.project,
    )
    .map(qualifiedName);
}

/** The default profile that containers of a project have. */
export function defaultProfile(look: HostLook, project: string): ProfileLook | undefined {
  return look.profiles.find((one) => one.name === "default" && one.project === project);
}

function hasRoot(profile: ProfileLook): boolean {
  return rootPool(profile) !== undefined;
}

export function rootPool(profile: ProfileLook): string | undefined {
  return Object.values(profile.disks).find((disk) => disk["path"] === "/" && disk["pool"])?.["pool"];
}

/**
 * After a migration, profiles whose root disk names the old pool are re-pointed, each once no instance takes its root
 * disk from it any more. Until then new launches go where they went, and the remark says who is in the way.
 */
export function planProfiles(
  look: HostLook,
  effective: EffectivePool | undefined,
  { moves, pinned }: ContainerPlan,
  { name: old, cow }: Pick<PoolPlan, "name" | "cow">,
): Findings {
  const findings = noFindings();
  if (cow === null || !effective || effective.name === old) return findings;
  for (const profile of look.profiles) {
    if (rootPool(profile) !== old) continue;
    const inheriting = inheritorsOf(profile, look).filter((name) => !moves.has(name) && !pinned.has(name));
    const object = `profile ${qualifiedName(profile)}`;
    if (inheriting.length === 0) {
      findings.actions.push({
        kind: "repoint-profile",
        object,
        pool: effective.name,
        detail: qualifiedName(profile),
        reason: `new launches go to pool ${effective.name}`,
      });
    } else {
      const names = listed(inheriting, 6);
      findings.remarks.push(
        `${object} stays on pool ${old}, so new launches go there: ${names} take their root disk from it. optIn.pinRoot or optIn.migrate frees it.`,
      );
    }
  }
  return findings;
}

/** Instances whose root disk comes from this profile, by qualified name. */
function inheritorsOf(profile: ProfileLook, look: HostLook): string[] {
  const usesProfilesOf = (project: string): string =>
    look.projects.some((one) => one.name === project && one.ownProfiles) ? project : "default";
  return look.instances
    .filter(
      ({ root, project }) => root?.profile === profile.name && usesProfilesOf(project) === profile.project,
    )
    .map(qualifiedName);
}
