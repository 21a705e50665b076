import { isPreconditionFailed } from "../common/errors.ts";
import type { Found, IncusClient } from "./client.ts";
import { api } from "./paths.ts";
import { Profile } from "./schemas.ts";

/** Profiles of every project. */
export function listProfiles(client: IncusClient): Promise<Profile[]> {
  return client.list(api("profiles"), Profile, { query: { recursion: 1, "all-projects": "true" } });
}

export function findProfile(client: IncusClient, project: string, name: string): Found<Profile> {
  return client.find(api("profiles", name), Profile, { query: { project } });
}

/** Attempts of one read-modify-write; each loss means that somebody else changed the profile meanwhile. */
const ATTEMPTS = 5;

/**
 * Changes a profile by read, modify, write with its etag, again when somebody else was faster. Undefined from `modify`
 * writes nothing.
 * @returns the profile as it is afterwards, or undefined where there is none
 */
export async function changeProfile(
  client: IncusClient,
  project: string,
  name: string,
  modify: (profile: Profile) => Profile | undefined,
): Promise<Profile | undefined> {
  for (let attempt = 1; ; attempt++) {
    const found = await findProfile(client, project, name);
    if (!found) return undefined;
    const changed = modify(found.value);
    if (!changed) return found.value;
    const { description, config, devices } = changed;
    const body = { description, config, devices };
    try {
      await client.write("PUT", api("profiles", name), { query: { project }, body, etag: found.etag });
      return changed;
    } catch (error) {
      if (!isPreconditionFailed(error) || attempt === ATTEMPTS) throw error;
    }
  }
}
