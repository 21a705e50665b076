import { type HostLook, type ProfileLook, qualifiedName } from "@taos-hosts/providers";
import type { HostConfig } from "../config.ts";
import { poolWishes } from "../pool-wishes.ts";
import type { EffectivePool } from "./pools.ts";
import { type ContainerPlan, type Findings, noFindings } from "./types.ts";

/** Bridge that a new host gets. */
const BRIDGE = "incusbr0";

/**
 * The bridge and the default profile's devices: made where they are missing, never changed. A host whose pool is
 * left as it is gets neither: nothing is written there.
 */
export function planNetwork(look: HostLook, effective: EffectivePool | undefined, isLeft: boolean): Findings {
  const findings = noFindings();
  if (isLeft) return findings;
  if (!look.networks.some(({ name }) => name === BRIDGE)) {
    findings.actions.push({
      kind: "create-network",
      object: `network ${BRIDGE}`,
      detail: BRIDGE,
      reason: "there is no such bridge",
    });
  }
  const profile = look.profiles.find(({ name, project }) => name === "default" && project === "default");
  if (!profile || !effective) return findings;
  const missing = [...(hasRoot(profile) ? [] : ["root"]), ...(profile.hasNetworkInterface ? [] : ["eth0"])];
  if (missing.length > 0) {
    findings.actions.push({
      kind: "add-profile-devices",
      object: "profile default",
      detail: missing.join(","),
      pool: effective.name,
      reason: `it has no ${missing.join(" and no ")}`,
    });
  }
  return findings;
}

function hasRoot(profile: ProfileLook): boolean {
  return rootPool(profile) !== undefined;
}

function rootPool(profile: ProfileLook): string | undefined {
  return Object.values(profile.disks).find((disk) => disk["path"] === "/" && disk["pool"])?.["pool"];
}

/**
 * After a migration, profiles whose root disk names the old pool are re-pointed, each once no instance takes its root
 * disk from it any more. Until then new launches go where they went, and the remark says who is in the way.
 */
export function planProfiles(
  host: HostConfig,
  look: HostLook,
  effective: EffectivePool | undefined,
  { moves, pinned }: ContainerPlan,
): Findings {
  const findings = noFindings();
  const old = host.pool.name;
  if (!poolWishes(host).cow || !effective || effective.name === old) return findings;
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
      const names =
        inheriting.length > 6
          ? `${inheriting.slice(0, 6).join(", ")} and ${inheriting.length - 6} more`
          : inheriting.join(", ");
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
