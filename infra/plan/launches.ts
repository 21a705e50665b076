import type { HostLook } from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";
import { bridgeWish } from "./bridge-wish.ts";
import type { EffectivePool } from "./pools.ts";
import { defaultProfile, rootPool } from "./profiles.ts";
import type { Action, Launches } from "./types.ts";

/** Where launches without options go once the actions are done: in project default, and in the host's own project. */
export function planLaunches(
  host: HostConfig,
  look: HostLook,
  effective: EffectivePool | undefined,
  actions: readonly Action[],
): Launches[] {
  const own = look.projects.find(({ name }) => name === host.project)?.ownProfiles ? [host.project] : [];
  return [...new Set(["default", ...own])].flatMap((project): Launches[] => {
    const profile = defaultProfile(look, project);
    if (!profile) return [];
    const object = `profile ${project === "default" ? "" : `${project}/`}default`;
    const changes = actions.filter((action) => action.object === object);
    const pool = changes.find(
      ({ detail, kind }) => kind === "repoint-profile" || detail?.includes("root"),
    )?.pool;
    const name = pool ?? rootPool(profile) ?? null;
    const added = changes.some(
      ({ kind, detail }) => kind === "add-profile-devices" && detail?.includes("eth0"),
    );
    const driver =
      name === effective?.name ? effective?.driver : look.pools.find((one) => one.name === name)?.driver;
    return [
      {
        project,
        pool: name,
        driver: driver ?? null,
        networks: added ? [bridgeWish(host).name] : profile.networks,
      },
    ];
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
