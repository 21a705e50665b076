import { rootDisk } from "../incus/root-disk.ts";
import type { Profile } from "../incus/schemas.ts";
import { addedDevices } from "../marks/keys.ts";

/** What says whether a default profile gets devices. */
export interface ProfileUse {
  hasRoot: boolean;
  hasInterface: boolean;
  /** Names of the devices that taos-hosts added once, there or not. */
  added: readonly string[];
  /** An instance has this profile: a device that is added shows up in it, running or not. */
  isUsed: boolean;
}

/** A device that a default profile lacks. */
export type Need = "root" | "eth0";

/**
 * The devices that a profile is given. Pure. In a profile that instances have, only what was added once is put back:
 * nobody asked for a new interface in all of them.
 */
export function profileNeeds({ hasRoot, hasInterface, added, isUsed }: ProfileUse): Need[] {
  const lacks: Need[] = [...(hasRoot ? [] : ["root" as const]), ...(hasInterface ? [] : ["eth0" as const])];
  return isUsed ? lacks.filter((need) => added.includes(need) || added.includes(`taos-${need}`)) : lacks;
}

/** The same facts of a profile as the API gives it. */
export function profileUseOf(profile: Profile): ProfileUse {
  return {
    hasRoot: rootDisk(profile.devices) !== undefined,
    hasInterface: Object.values(profile.devices).some((device) => device["type"] === "nic"),
    added: addedDevices(profile),
    isUsed: profile.used_by.some((url) => url.startsWith("/1.0/instances/")),
  };
}
