import { isNotFound } from "../errors.ts";
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
  try {
    return await client.getVersioned(api("profiles", name), Profile, { query: { project } });
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** Replaces a profile's description, config and devices; send the etag that the read gave. */
export function putProfile(
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
