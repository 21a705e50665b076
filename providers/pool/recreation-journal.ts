import { z } from "zod";
import type { IncusClient } from "../incus/client.ts";
import { changeProfile, listProfiles } from "../incus/profiles.ts";
import { getServer } from "../incus/server.ts";
import { RECREATION_PREFIX } from "../marks/keys.ts";

const ProfileDisk = z.object({
  project: z.string(),
  profile: z.string(),
  device: z.string(),
  keys: z.record(z.string(), z.string()),
});
type ProfileDisk = z.infer<typeof ProfileDisk>;

const Journal = z.object({
  /** The pool as it was: what is put back if anything fails. */
  description: z.string(),
  config: z.record(z.string(), z.string()),
  /** Driver and size (bytes; 0: none) of the pool that takes its place. */
  driver: z.enum(["btrfs", "zfs"]),
  size: z.number(),
  source: z.string(),
  owner: z.string(),
  /** Every disk device of a profile that names the pool, with all its keys. */
  devices: z.array(ProfileDisk),
});
export type Journal = z.infer<typeof Journal>;

/** A recreation that a killed run left unfinished, or undefined. */
export async function findRecreation(client: IncusClient, pool: string): Promise<Journal | undefined> {
  const text = (await getServer(client)).config[`${RECREATION_PREFIX}${pool}`];
  return text ? Journal.parse(JSON.parse(text)) : undefined;
}

/** Writes the journal of a recreation on the server, or takes it away. */
export function writeJournal(client: IncusClient, pool: string, journal: Journal | undefined): Promise<void> {
  const value = journal ? JSON.stringify(journal) : "";
  return client.write("PATCH", "/1.0", { body: { config: { [`${RECREATION_PREFIX}${pool}`]: value } } });
}

/** Every disk device of a profile that names the pool, each once. */
export async function findProfileDisks(client: IncusClient, pool: string): Promise<ProfileDisk[]> {
  const disks = new Map<string, ProfileDisk>();
  for (const { project, name: profile, devices } of await listProfiles(client)) {
    for (const [device, keys] of Object.entries(devices)) {
      if (keys["type"] !== "disk" || keys["pool"] !== pool) continue;
      disks.set([project, profile, device].join("/"), { project, profile, device, keys });
    }
  }
  return [...disks.values()];
}

/** Takes the devices of the journal out of their profiles, where they still name the pool. */
export async function removeProfileDisks(
  client: IncusClient,
  pool: string,
  { devices }: Journal,
): Promise<void> {
  for (const { project, profile, device } of devices) {
    await changeProfile(client, project, profile, (live) => {
      if (live.devices[device]?.["pool"] !== pool) return undefined;
      const { [device]: _removed, ...others } = live.devices;
      return { ...live, devices: others };
    });
  }
}

/**
 * Puts the devices of the journal back into their profiles and takes the journal away: the end of every recreation,
 * also of one of a `dir` pool that got content before it was gone on with: it and its profiles stay.
 */
export async function endRecreation(client: IncusClient, pool: string, { devices }: Journal): Promise<void> {
  for (const { project, profile, device, keys } of devices) {
    await changeProfile(client, project, profile, (live) =>
      live.devices[device] ? undefined : { ...live, devices: { ...live.devices, [device]: keys } },
    );
  }
  await writeJournal(client, pool, undefined);
}
