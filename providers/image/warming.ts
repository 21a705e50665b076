import { createHash } from "node:crypto";
import { isNotFound, VisibleError } from "../common/errors.ts";
import type { IncusClient } from "../incus/client.ts";
import { createInstance, deleteInstance, findInstance } from "../incus/instances.ts";
import { withLock } from "../incus/lock.ts";
import { findPool, listWarmFingerprints } from "../incus/pools.ts";
import { OWNER_KEY } from "../marks/keys.ts";
import { isCopyOnWrite } from "../pool/drivers.ts";
import { progressFor } from "../pulumi/progress.ts";

/** Importing and unpacking some 500 MB take minutes on an SD card; gz and xz unpack on one core. */
export const IMAGE_DEADLINE = 1_800_000;

/** Name of the temporary instance whose creation unpacks the image; one per image and pool, so leftovers are found. */
function warmerName(fingerprint: string, pool: string): string {
  return `taos-warm-${fingerprint.slice(0, 12)}-${createHash("sha256").update(pool).digest("hex").slice(0, 6)}`;
}

async function removeWarmer(client: IncusClient, project: string, name: string): Promise<void> {
  const found = await findInstance(client, { project, name });
  if (!found) return;
  if (!found.value.config[OWNER_KEY]) {
    throw new VisibleError(
      `Instance "${name}" is in the way of warming an image and was not made by taos-hosts. Rename it.`,
    );
  }
  await deleteInstance(client, { project, name }, { deadline: 120_000 }).catch((error: unknown) => {
    if (!isNotFound(error)) throw error;
  });
}

/**
 * Unpacks an image in a pool, the public way: create an instance without starting it, delete it, the image stays.
 * @returns false where the pool's driver keeps no unpacked images
 */
export async function ensureWarm(
  client: IncusClient,
  image: { fingerprint: string; project: string; pool: string; owner: string; label: string },
): Promise<boolean> {
  const { fingerprint, project, pool } = image;
  return withLock(`warm:${client.key}:${pool}:${fingerprint}`, async () => {
    const found = await findPool(client, pool);
    if (!found) throw new VisibleError(`Pool "${pool}" does not exist, so no image can be warmed in it.`);
    if (!isCopyOnWrite(found.value.driver)) return false;
    const name = warmerName(fingerprint, pool);
    await removeWarmer(client, project, name);
    if ((await listWarmFingerprints(client, pool)).includes(fingerprint)) return true;
    const progress = progressFor(client.host.name, `image ${image.label}`);
    progress(`unpacking in pool ${pool}`);
    try {
      await createInstance(
        client,
        project,
        {
          name,
          profiles: [],
          config: { [OWNER_KEY]: image.owner },
          devices: { root: { type: "disk", path: "/", pool } },
          source: { type: "image", fingerprint },
          start: false,
        },
        {
          deadline: IMAGE_DEADLINE,
          onProgress: (metadata) => {
            const unpacked = metadata["create_instance_from_image_unpack_progress"];
            if (typeof unpacked === "string") progress(`unpacking in pool ${pool}: ${unpacked}`);
          },
        },
      );
    } finally {
      await removeWarmer(client, project, name);
    }
    return true;
  });
}
