import { qualifiedName } from "@taos-hosts/providers";
import type { EffectivePool } from "./effective-pool.ts";
import { defaultProfile, type ProfilePlan, rootPool } from "./profiles.ts";
import { findPool, type Scene } from "./scene.ts";
import type { Launches } from "./types.ts";
import { bridgeWish } from "./wishes.ts";

/** Where launches without options go once the plan is done: in project default, and in the host's own project. */
export function planLaunches(
  { host, look }: Scene,
  effective: EffectivePool | undefined,
  { added, repointed }: ProfilePlan,
): Launches[] {
  const own = look.projects.find(({ name }) => name === host.project)?.ownProfiles ? [host.project] : [];
  return [...new Set(["default", ...own])].flatMap((project): Launches[] => {
    const profile = defaultProfile(look, project);
    if (!profile) return [];
    const isChanged = (device: ProfilePlan["added"][number]): boolean =>
      project === "default" && added.includes(device);
    const goesToEffective = isChanged("root") || repointed.has(qualifiedName(profile));
    const pool = (goesToEffective ? effective?.name : rootPool(profile)) ?? null;
    const driver = pool === effective?.name ? effective?.driver : findPool(look, pool ?? undefined)?.driver;
    const networks = isChanged("eth0") ? [bridgeWish(host).name] : profile.networks;
    return [{ project, pool, driver: driver ?? null, networks }];
  });
}

/**
 * Says where a host's images and agents are in one pool and its launches in another though no migration is under way:
 * a profile that names a pool is never changed.
 */
export function launchRemarks(launches: readonly Launches[], effective: EffectivePool | undefined): string[] {
  const here = launches.find(({ project }) => project === "default");
  if (!effective || !here?.pool || here.pool === effective.name) return [];
  return [
    `launches go to pool ${here.pool}, images and agents of this stack to pool ${effective.name}: the default profile is not changed. incus profile device set default root pool=${effective.name} sends new launches there, too`,
  ];
}
