import { z } from "zod";
import { incusSize } from "../common/bytes.ts";
import { isNotFound, messageOf, VisibleError } from "../common/errors.ts";
import type { HostFiles } from "../host/files.ts";
import type { IncusClient } from "../incus/client.ts";
import { createPool, deletePool, findPool } from "../incus/pools.ts";
import { changeProfile, listProfiles } from "../incus/profiles.ts";
import { getServer } from "../incus/server.ts";
import { OWNER_KEY, RECREATION_PREFIX } from "../marks/keys.ts";
import type { Progress } from "../pulumi/progress.ts";
import { isCopyOnWrite } from "./decision.ts";

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
  devices: z.array(
    z.object({
      project: z.string(),
      profile: z.string(),
      device: z.string(),
      keys: z.record(z.string(), z.string()),
    }),
  ),
});
type Journal = z.infer<typeof Journal>;

/** What the new pool shall be. */
export interface Recreation {
  name: string;
  driver: "btrfs" | "zfs";
  /** Bytes, for a loop file. */
  size: number | undefined;
  source: string;
  owner: string;
  description?: string | undefined;
}

/** A recreation that a killed run left unfinished, or undefined. */
export async function findRecreation(client: IncusClient, pool: string): Promise<Journal | undefined> {
  const text = (await getServer(client)).config[`${RECREATION_PREFIX}${pool}`];
  return text ? Journal.parse(JSON.parse(text)) : undefined;
}

function writeJournal(client: IncusClient, pool: string, journal: Journal | undefined): Promise<void> {
  const value = journal ? JSON.stringify(journal) : "";
  return client.write("PATCH", "/1.0", { body: { config: { [`${RECREATION_PREFIX}${pool}`]: value } } });
}

/** Keys that Incus computes for a `dir` pool, or that mean nothing for the next driver. */
function carriedConfig(config: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(config).filter(
      ([key]) => key.startsWith("user.") || key.startsWith("rsync.") || key.startsWith("volume."),
    ),
  );
}

/**
 * Deletes an empty `dir` pool and makes a copy-on-write one of the same name: profiles' disks out, delete, create,
 * disks back in. Everything is written down on the server first; any failure puts pool and profiles back as they
 * were, and the next run finishes what a kill interrupted. The caller has proven that the pool is empty.
 * @throws VisibleError after the old state was restored
 */
export async function recreatePool(
  client: IncusClient,
  recreation: Recreation,
  files: HostFiles | undefined,
  progress: Progress,
): Promise<void> {
  const { name } = recreation;
  const found = await findPool(client, name);
  if (!found?.value.config)
    throw new VisibleError(`Pool "${name}" changed while it was looked at. Run up again.`);
  const devices = (await listProfiles(client)).flatMap((profile) =>
    Object.entries(profile.devices)
      .filter(([, device]) => device["type"] === "disk" && device["pool"] === name)
      .map(([device, keys]) => ({ project: profile.project, profile: profile.name, device, keys })),
  );
  const journal: Journal = {
    description: found.value.description,
    config: found.value.config,
    driver: recreation.driver,
    size: recreation.size ?? 0,
    source: recreation.source,
    owner: recreation.owner,
    devices: devices.filter((one, index) => devices.findIndex((other) => sameDevice(one, other)) === index),
  };
  if (await files?.exists("disks", `${name}.img`)) {
    throw new VisibleError(
      `Refusing to recreate pool "${name}": a file disks/${name}.img is left in Incus' directory and Incus would delete it. Move it away.`,
    );
  }
  await writeJournal(client, name, journal);
  await finishRecreation(client, name, journal, files, progress);
}

function sameDevice(a: Journal["devices"][number], b: Journal["devices"][number]): boolean {
  return a.project === b.project && a.profile === b.profile && a.device === b.device;
}

/** Goes on from wherever the host is; restores the old pool where the new one cannot be made. */
export async function finishRecreation(
  client: IncusClient,
  name: string,
  journal: Journal,
  files: HostFiles | undefined,
  progress: Progress,
): Promise<void> {
  try {
    await removeHalfMade(client, name, journal, progress);
    const before = await findPool(client, name);
    if (before && !isCopyOnWrite(before.value.driver)) {
      progress(`recreating as ${journal.driver}: taking its disks out of ${journal.devices.length} profiles`);
      for (const entry of journal.devices) await removeDevice(client, name, entry);
      progress(`recreating as ${journal.driver}: deleting the empty dir pool`);
      await deletePool(client, name).catch((error: unknown) => {
        if (!isNotFound(error)) throw error;
      });
    }
    if (!before || !isCopyOnWrite(before.value.driver)) {
      // The journal says that no such file was there before: it is the rest of our own interrupted creation.
      if (await files?.exists("disks", `${name}.img`)) await files?.remove("disks", `${name}.img`);
      progress(`recreating as ${journal.driver}: creating the pool`);
      await createPool(client, {
        name,
        driver: journal.driver,
        description: journal.description,
        config: {
          ...carriedConfig(journal.config),
          ...(journal.source === "loop" ? {} : { source: journal.source }),
          ...(journal.size > 0 ? { size: incusSize(journal.size) } : {}),
          [OWNER_KEY]: journal.owner,
        },
      });
    }
  } catch (error) {
    await restore(client, name, journal, error, progress);
  }
  for (const entry of journal.devices) await putDeviceBack(client, entry);
  await writeJournal(client, name, undefined);
  progress(`recreated as ${journal.driver}`);
}

/** A daemon that was killed within its mkfs keeps a pool that it can never mount. It is ours, and nothing is on it. */
async function removeHalfMade(
  client: IncusClient,
  name: string,
  journal: Journal,
  progress: Progress,
): Promise<void> {
  const found = (await findPool(client, name))?.value;
  if (!found || !isCopyOnWrite(found.driver) || found.status === "Created" || found.status === "") return;
  if (found.config?.[OWNER_KEY] !== journal.owner) return;
  if (found.used_by.some((url) => !url.startsWith("/1.0/images/"))) return;
  progress(
    `recreating as ${journal.driver}: deleting the pool that an interrupted run left ${found.status.toLowerCase()}`,
  );
  await deletePool(client, name);
}

/** For a `dir` pool that got content before its interrupted recreation was gone on with: it and its profiles stay. */
export async function abandonRecreation(client: IncusClient, name: string, journal: Journal): Promise<void> {
  for (const entry of journal.devices) await putDeviceBack(client, entry);
  await writeJournal(client, name, undefined);
}

/** Puts everything back as it was. Its own failure leaves the journal, so the next run tries again. */
async function restore(
  client: IncusClient,
  name: string,
  journal: Journal,
  cause: unknown,
  progress: Progress,
): Promise<never> {
  progress(`failed (${messageOf(cause)}); putting the dir pool back`);
  try {
    if (!(await findPool(client, name))) {
      const { source, ...config } = journal.config;
      const usual = source === undefined || source.endsWith(`/storage-pools/${name}`);
      await createPool(client, {
        name,
        driver: "dir",
        description: journal.description,
        config: usual ? config : { ...config, source },
      });
    }
    for (const entry of journal.devices) await putDeviceBack(client, entry);
    await writeJournal(client, name, undefined);
  } catch (error) {
    throw new VisibleError(
      `Failed to recreate pool "${name}" (${messageOf(cause)}), and putting it back is not finished either (${messageOf(error)}). What was there is written in the server's config key ${RECREATION_PREFIX}${name}; run up again.`,
    );
  }
  throw new VisibleError(
    `Failed to recreate pool "${name}" as ${journal.driver}: ${messageOf(cause)}. The dir pool and its profiles are back as they were.`,
  );
}

type Entry = Journal["devices"][number];

async function modifyDevices(
  client: IncusClient,
  entry: Entry,
  modify: (devices: Record<string, Record<string, string>>) => boolean,
): Promise<void> {
  await changeProfile(client, entry.project, entry.profile, (profile) => {
    const devices = structuredClone(profile.devices);
    return modify(devices) ? { ...profile, devices } : undefined;
  });
}

function removeDevice(client: IncusClient, pool: string, entry: Entry): Promise<void> {
  return modifyDevices(client, entry, (devices) => {
    if (devices[entry.device]?.["pool"] !== pool) return false;
    delete devices[entry.device];
    return true;
  });
}

function putDeviceBack(client: IncusClient, entry: Entry): Promise<void> {
  return modifyDevices(client, entry, (devices) => {
    if (devices[entry.device]) return false;
    devices[entry.device] = entry.keys;
    return true;
  });
}
