import { incusSize } from "../common/bytes.ts";
import { isNotFound, messageOf, VisibleError } from "../common/errors.ts";
import type { HostFiles } from "../host/files.ts";
import type { IncusClient } from "../incus/client.ts";
import { createPool, deletePool, findPool } from "../incus/pools.ts";
import { OWNER_KEY, RECREATION_PREFIX } from "../marks/keys.ts";
import type { Progress } from "../pulumi/progress.ts";
import { isCopyOnWrite } from "./drivers.ts";
import {
  endRecreation,
  findProfileDisks,
  type Journal,
  removeProfileDisks,
  writeJournal,
} from "./recreation-journal.ts";

/** What the new pool shall be. */
export interface Recreation {
  name: string;
  driver: "btrfs" | "zfs";
  /** Bytes, for a loop file. */
  size: number | undefined;
  source: string;
  owner: string;
}

/**
 * Deletes an empty `dir` pool and makes a copy-on-write one of the same name: profiles' disks out, delete, create,
 * disks back in. Everything is written down on the server first; any failure puts pool and profiles back as they
 * were, and the next run finishes what a kill interrupted. The caller has proven that the pool is empty.
 * @throws VisibleError after the old state was restored
 */
export async function recreatePool(
  client: IncusClient,
  { name, driver, size = 0, source, owner }: Recreation,
  files: HostFiles | undefined,
  progress: Progress,
): Promise<void> {
  const found = await findPool(client, name);
  if (!found?.value.config)
    throw new VisibleError(`Pool "${name}" changed while it was looked at. Run up again.`);
  const { description, config } = found.value;
  const devices = await findProfileDisks(client, name);
  const journal: Journal = { description, config, driver, size, source, owner, devices };
  if (await files?.exists("disks", `${name}.img`)) {
    throw new VisibleError(
      `Refusing to recreate pool "${name}": a file disks/${name}.img is left in Incus' directory and Incus would delete it. Move it away.`,
    );
  }
  await writeJournal(client, name, journal);
  await finishRecreation(client, name, journal, files, progress);
}

/** Goes on from wherever the host is; restores the old pool where the new one cannot be made. */
export async function finishRecreation(
  client: IncusClient,
  name: string,
  journal: Journal,
  files: HostFiles | undefined,
  progress: Progress,
): Promise<void> {
  const { driver, devices } = journal;
  const say = (what: string): void => progress(`recreating as ${driver}: ${what}`);
  try {
    await removeHalfMade(client, name, journal, say);
    const before = (await findPool(client, name))?.value;
    if (!before || !isCopyOnWrite(before.driver)) {
      if (before) {
        say(`taking its disks out of ${devices.length} profiles`);
        await removeProfileDisks(client, name, journal);
        say("deleting the empty dir pool");
        await deletePool(client, name).catch((error: unknown) => {
          if (!isNotFound(error)) throw error;
        });
      }
      // The journal says that no such file was there before: it is the rest of our own interrupted creation.
      if (await files?.exists("disks", `${name}.img`)) await files?.remove("disks", `${name}.img`);
      say("creating the pool");
      await createPool(client, newPool(name, journal));
    }
  } catch (error) {
    await restore(client, name, journal, error, progress);
  }
  await endRecreation(client, name, journal);
  progress(`recreated as ${driver}`);
}

/** The pool with its description and those of its keys that mean something for the next driver. */
function newPool(name: string, { driver, description, config, source, size, owner }: Journal) {
  const carried = Object.entries(config).filter(([key]) => /^(user|rsync|volume)\./.test(key));
  return {
    name,
    driver,
    description,
    config: {
      ...Object.fromEntries(carried),
      ...(source === "loop" ? {} : { source }),
      ...(size > 0 ? { size: incusSize(size) } : {}),
      [OWNER_KEY]: owner,
    },
  };
}

/** A daemon that was killed within its mkfs keeps a pool that it can never mount. It is ours, and nothing is on it. */
async function removeHalfMade(
  client: IncusClient,
  name: string,
  { owner }: Journal,
  say: Progress,
): Promise<void> {
  const found = (await findPool(client, name))?.value;
  if (!found || !isCopyOnWrite(found.driver) || found.status === "Created" || found.status === "") return;
  if (found.config?.[OWNER_KEY] !== owner) return;
  if (found.used_by.some((url) => !url.startsWith("/1.0/images/"))) return;
  say(`deleting the pool that an interrupted run left ${found.status.toLowerCase()}`);
  await deletePool(client, name);
}

/** Puts everything back as it was. Its own failure leaves the journal, so the next run tries again. */
async function restore(
  client: IncusClient,
  name: string,
  journal: Journal,
  cause: unknown,
  progress: Progress,
): Promise<never> {
  const { driver, description } = journal;
  progress(`failed (${messageOf(cause)}); putting the dir pool back`);
  try {
    if (!(await findPool(client, name))) {
      const { source, ...others } = journal.config;
      const isUsual = source === undefined || source.endsWith(`/storage-pools/${name}`);
      const config = isUsual ? others : { ...others, source };
      await createPool(client, { name, driver: "dir", description, config });
    }
    await endRecreation(client, name, journal);
  } catch (error) {
    throw new VisibleError(
      `Failed to recreate pool "${name}" (${messageOf(cause)}), and putting it back is not finished either (${messageOf(error)}). What was there is written in the server's config key ${RECREATION_PREFIX}${name}; run up again.`,
    );
  }
  throw new VisibleError(
    `Failed to recreate pool "${name}" as ${driver}: ${messageOf(cause)}. The dir pool and its profiles are back as they were.`,
  );
}
