import { isPreconditionFailed } from "../common/errors.ts";
import type { IncusClient, Versioned } from "./client.ts";
import { api } from "./paths.ts";
import { Profile } from "./schemas.ts";

/** Profiles of every project. */
export function listProfiles(client: IncusClient): Promise<Profile[]> {
  return client.list(api("profiles"), Profile, { query: { recursion: 1, "all-projects": "true" } });
}

export async function findProfile(
  client: IncusClient,
  project: string,
  name: string,
): Promise<Versioned<Profile> | undefined> {
  return client.find(api("profiles", name), Profile, { query: { project } });
}

/** Replaces a profile's description, config and devices; send the etag that the read gave. */
function putProfile(
  client: IncusClient,
  project: string,
  name: string,
  profile: Pick<Profile, "description" | "config" | "devices">,
  etag: string | undefined,
): Promise<void> {
  const { description, config, devices } = profile;
  return client.write("PUT", api("profiles", name), {
    query: { project },
    body: { description, config, devices },
    etag,
  });
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
    try {
      await putProfile(client, project, name, changed, found.etag);
      return changed;
    } catch (error) {
      if (!isPreconditionFailed(error) || attempt === ATTEMPTS) throw error;
    }
  }
}
