import { randomUUID } from "node:crypto";
import { refuseForeignMounts } from "../../host/foreign-mounts.ts";
import { findImage } from "../../incus/images.ts";
import { createInstance, deleteInstance, findInstance } from "../../incus/instances.ts";
import { findPool } from "../../incus/pools.ts";
import { rootDevice, rootPool } from "../../incus/root-device.ts";
import type { Instance } from "../../incus/schemas.ts";
import { GENERATION_KEY, UUID_KEY } from "../../marks/identity.ts";
import { type CopyJournal, journalEntry, requireMark, type SourceJournal } from "../../marks/journal.ts";
import { type Move, refOf } from "../move.ts";
import type { Seen } from "../observation.ts";
import { COPY_DEADLINE } from "./passes.ts";

/**
 * Settings that decide how Incus maps owners on disk, and those that a project's limits count, so that what they
 * allow is known before the source is stopped; the rest follows at the swap.
 */
const FROM_THE_START = [
  ...["security.privileged", "raw.idmap", "security.idmap.size"],
  ...["limits.memory", "limits.cpu", "limits.processes"],
];

/**
 * Makes the copy: bare (no profiles, no devices but the root, so that no address, name or port is taken twice), from
 * the base image where the host has it, since unchanged files then share blocks with the image.
 */
export async function createCopy(move: Move, source: Instance, journal: SourceJournal): Promise<void> {
  const { id, project, name, from, to, uuid: sourceUuid, wasRunning } = journal;
  const [rootName, root] = rootDevice(source);
  const { "initial.uid": _uid, "initial.gid": _gid, "initial.mode": _mode, ...plainRoot } = root;
  const image = await baseImage(move, source, to);
  // Given by us, so that the journal names its instance from the first moment on.
  const uuid = randomUUID();
  const identity = { uuid, generation: uuid, sourceUuid };
  const own: CopyJournal = { role: "copy", id, phase: "seeding", name, from, to, ...identity, wasRunning };
  const settings = Object.entries(source.expanded_config).filter(
    ([key, value]) => FROM_THE_START.includes(key) && value,
  );
  move.progress(
    image
      ? `cloning base image ${image.slice(0, 12)} in pool "${to}"`
      : `creating an empty copy in pool "${to}"`,
  );
  await createInstance(
    move.client,
    project,
    {
      name: journal.copy,
      type: "container",
      architecture: source.architecture,
      profiles: [],
      config: {
        ...journalEntry(own),
        ...Object.fromEntries(settings),
        ...{ [UUID_KEY]: uuid, [GENERATION_KEY]: uuid },
      },
      devices: { [rootName]: { ...plainRoot, pool: to } },
      source: image ? { type: "image", fingerprint: image } : { type: "none" },
    },
    {
      deadline: COPY_DEADLINE,
      signal: move.signal,
      onProgress: () => move.progress("unpacking the base image"),
    },
  );
}

/**
 * Fingerprint of the image that a container was made from, where its host has it and its copy in `pool` would share
 * blocks with it: elsewhere it would be unpacked for nothing.
 */
export async function baseImage(move: Move, source: Instance, pool: string): Promise<string | undefined> {
  const fingerprint = source.config["volatile.base_image"];
  if (!fingerprint) return undefined;
  const [image, found] = await Promise.all([
    findImage(move.client, move.request.project, fingerprint),
    findPool(move.client, pool),
  ]);
  return found?.value.driver === "btrfs" ? image?.fingerprint : undefined;
}

/** Deletes the copy with all its snapshots. Absent is fine. @throws VisibleError where it is another instance by now */
export async function deleteCopy(move: Move, { instance, journal }: Seen<CopyJournal>): Promise<void> {
  const ref = refOf(move, instance.name);
  const found = await findInstance(move.client, ref);
  if (!found) return;
  requireMark(found.value, journal);
  const volumes = [{ pool: rootPool(found.value), ref }];
  await refuseForeignMounts(move.files, volumes, `delete the copy "${ref.name}"`);
  await deleteInstance(move.client, ref, { deadline: COPY_DEADLINE });
}
