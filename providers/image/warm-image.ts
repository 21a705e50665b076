import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { resolve } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { IncusApiError, isNotFound, VisibleError } from "../common/errors.ts";
import { ImageAliasName, nearestNames, ObjectName, PoolName } from "../common/names.ts";
import type { IncusClient } from "../incus/client.ts";
import { unfitness } from "../incus/image-fitness.ts";
import { aliasedImages, imageNamed, imageStore } from "../incus/image-store.ts";
import {
  deleteImage,
  deleteImageAlias,
  findImage,
  findImageAlias,
  type ImageFiles,
  listImages,
  setImageAlias,
  uploadImage,
} from "../incus/images.ts";
import { createInstance, deleteInstance, findInstance } from "../incus/instances.ts";
import { withLock } from "../incus/lock.ts";
import { findPool, listPools, listWarmFingerprints } from "../incus/pools.ts";
import type { Image } from "../incus/schemas.ts";
import { getServer, listProjects } from "../incus/server.ts";
import { shared } from "../incus/shared.ts";
import { OWNER_KEY } from "../marks/keys.ts";
import { isOfSameStack } from "../marks/ownership.ts";
import { isCopyOnWrite } from "../pool/drivers.ts";
import { changedFields } from "../pulumi/drift.ts";
import { progressFor } from "../pulumi/progress.ts";
import {
  CommonArgs,
  type CommonState,
  dynamicProvider,
  type InputsOf,
  type Lifecycle,
} from "../pulumi/resource.ts";
import { shim } from "../pulumi/shim.ts";
import { downloadImage, sha256OfFile } from "./download.ts";

/** Importing and unpacking some 500 MB take minutes on an SD card; gz and xz unpack on one core. */
const IMAGE_DEADLINE = 1_800_000;

const Sha256 = z.string().regex(/^[0-9a-fA-F]{64}$/, "must be a SHA-256 in hex, 64 digits");

/** Where the image comes from when the host does not have it. Relative paths: from the program's entry directory. */
export const ImageSource = z.union([
  z.strictObject({ file: z.string().min(1), sha256: Sha256.optional() }),
  z.strictObject({ metadata: z.string().min(1), rootfs: z.string().min(1) }),
  z.strictObject({ url: z.url({ protocol: /^https$/, error: "must be an https URL" }), sha256: Sha256 }),
]);
export type ImageSource = z.infer<typeof ImageSource>;

/**
 * An image is on the host under this alias and unpacked in the pool, so that instances are snapshots of it from the
 * first one on. Warmth is keyed by fingerprint: when the alias moves, the new image is warmed.
 *
 * @example
 * new WarmImage("orange-1/taos-base", { host, owner, alias: "taos-base", pool: "default" });
 * @example
 * new WarmImage("orange-1/taos-base", { host, owner, alias: "taos-base", pool: "default",
 *   source: { url: "https://example.org/taos-base.tar.gz", sha256: "…" } });
 */
export const WarmImageArgs = CommonArgs.extend({
  /** `*` is every image that the host has under an alias and containers of it can be made from. */
  alias: z.union([z.literal("*"), ImageAliasName]),
  project: ObjectName.default("default"),
  pool: PoolName,
  /** Unset: the image must be on the host already. */
  source: ImageSource.optional(),
});
export type WarmImageArgs = z.infer<typeof WarmImageArgs>;

interface WarmImageState extends WarmImageArgs, CommonState {
  /** What the alias points at (for `*`, all of them, joined by commas); empty where there is none. */
  fingerprint: string;
  /** Fingerprint that is unpacked in the pool; empty where it is not, or where the pool's driver cannot. */
  warmFingerprint: string;
  /** True where this stack brought the image: then its deletion removes it. */
  imported: boolean;
  drift: string[];
}

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
async function ensureWarm(
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

async function filesOf(
  source: ImageSource,
  alias: string,
  host: string,
): Promise<{ files: ImageFiles; sha256?: string }> {
  if ("url" in source) {
    const file = await downloadImage(source.url, source.sha256, progressFor(host, `image ${alias}`));
    return { files: { file } };
  }
  if ("file" in source) return { files: { file: resolve(source.file) } };
  return { files: { metadata: resolve(source.metadata), rootfs: resolve(source.rootfs) } };
}

/** Imports the image and points the alias at it; the ownership mark travels with the upload. */
async function importImage(client: IncusClient, args: WarmImageArgs, source: ImageSource): Promise<string> {
  const { files } = await filesOf(source, args.alias, args.host.name);
  progressFor(args.host.name, `image ${args.alias}`)("importing");
  // One after the other: of two uploads of the same content at once, Incus fails one on its database's constraint.
  const fingerprint = await withLock(`image-upload:${client.key}`, async () => {
    try {
      const options = { deadline: IMAGE_DEADLINE };
      return await uploadImage(client, args.project, files, { [OWNER_KEY]: args.owner }, options);
    } catch (error) {
      const known = error instanceof IncusApiError && /fingerprint already exists/i.test(error.reason);
      if (!known) throw error;
      return fingerprintOfFiles(files);
    }
  });
  await setImageAlias(client, args.project, args.alias, fingerprint);
  return fingerprint;
}

/** Incus' fingerprint: SHA-256 over the file, or over metadata followed by root file system. */
async function fingerprintOfFiles(files: ImageFiles): Promise<string> {
  if ("file" in files) return sha256OfFile(files.file);
  const hash = createHash("sha256");
  for (const part of [files.metadata, files.rootfs]) {
    for await (const chunk of createReadStream(part)) hash.update(chunk);
  }
  return hash.digest("hex");
}

/** Images that `*` stands for, as far as containers of the host can be made from them. */
async function fitting(client: IncusClient, images: readonly Image[], store: string): Promise<Image[]> {
  const architectures = await architecturesOf(client);
  return aliasedImages(images, store).filter((one) => unfitness(one, architectures) === undefined);
}

async function storeOf(client: IncusClient, project: string): Promise<string> {
  const projects = await shared(client, "projects", listProjects);
  const own = projects.map(({ name, config }) => ({
    name,
    ownImages: config["features.images"] !== "false",
  }));
  return imageStore(own, project);
}

async function architecturesOf(client: IncusClient): Promise<string[]> {
  return (await shared(client, "server", getServer)).environment?.architectures ?? [];
}

/** @throws VisibleError where no container of the host can be made from the image; it goes, where this run brought it */
async function checkFitness(
  client: IncusClient,
  args: WarmImageArgs,
  image: Image | undefined,
  isNew: boolean,
): Promise<void> {
  const reason = image && unfitness(image, await architecturesOf(client));
  if (!image || reason === undefined) return;
  const brought = isNew && isOfSameStack(image.properties[OWNER_KEY], args.owner);
  if (brought) await deleteImage(client, args.project, image.fingerprint, { deadline: 120_000 });
  throw new VisibleError(
    `No container can be made from image "${args.alias}": ${reason}. ${brought ? "Give another file or url under images" : "Point the alias at an image for this host, or name another one"}.`,
  );
}

async function ensureAll(args: WarmImageArgs, client: IncusClient): Promise<WarmImageState> {
  const { owner, pool } = args;
  const project = await storeOf(client, args.project);
  const warm: string[] = [];
  const images = await fitting(client, await listImages(client), project);
  for (const { fingerprint, aliases } of images) {
    const label = aliases[0]?.name ?? fingerprint;
    if (await ensureWarm(client, { fingerprint, project, pool, owner, label })) warm.push(fingerprint);
  }
  const fingerprint = images.map((image) => image.fingerprint).join(",");
  return {
    ...args,
    fingerprint,
    warmFingerprint: warm.join(","),
    imported: false,
    drift: [],
  };
}

async function ensure(args: WarmImageArgs, client: IncusClient, reimport: boolean): Promise<WarmImageState> {
  if (args.alias === "*") return ensureAll(args, client);
  return withLock(`image:${client.key}:${args.project}:${args.alias}`, async () => {
    const before = (await findImageAlias(client, args.project, args.alias))?.target;
    let fingerprint = before;
    if (args.source && (fingerprint === undefined || reimport)) {
      fingerprint = await importImage(client, args, args.source);
    }
    if (fingerprint === undefined) {
      const aliases = (await listImages(client)).flatMap((image) => image.aliases.map(({ name }) => name));
      const near = nearestNames(args.alias, aliases);
      throw new VisibleError(
        `Image "${args.alias}" is not on the host and has no source. ${near.length > 0 ? `There is ${near.join(", ")}. ` : ""}Import it, or give it a file or url under images.`,
      );
    }
    const image = await findImage(client, args.project, fingerprint);
    await checkFitness(client, args, image, before === undefined);
    const imported = isOfSameStack(image?.properties[OWNER_KEY], args.owner);
    const { owner, pool } = args;
    // There no limit of the agents' project is in the way of the instance that unpacks it.
    const project = await storeOf(client, args.project);
    const warm = await ensureWarm(client, { fingerprint, project, pool, owner, label: args.alias });
    return {
      ...args,
      fingerprint,
      warmFingerprint: warm ? fingerprint : "",
      imported,
      drift: [],
    };
  });
}

/** Files given by path are there and hash right, before anything is written anywhere. */
export async function checkImageFiles(source: ImageSource): Promise<string | undefined> {
  const paths = "file" in source ? [source.file] : "rootfs" in source ? [source.metadata, source.rootfs] : [];
  const missing = paths.find((path) => !existsSync(resolve(path)));
  if (missing !== undefined) return `image file ${missing} does not exist`;
  if ("file" in source && source.sha256 !== undefined) {
    const digest = await sha256OfFile(resolve(source.file));
    if (digest !== source.sha256.toLowerCase())
      return `image file ${source.file} has sha256 ${digest}, not ${source.sha256}`;
  }
  return undefined;
}

const lifecycle: Lifecycle<WarmImageArgs, WarmImageState> = {
  args: WarmImageArgs,

  async check(args) {
    const reason = args.source ? await checkImageFiles(args.source) : undefined;
    return reason === undefined ? [] : [{ property: "source", reason: `image "${args.alias}": ${reason}` }];
  },

  diff(state, args) {
    const moved = (["alias", "project"] as const).filter((key) => state[key] !== args[key]);
    if (moved.length > 0) return { changes: true, replaces: moved };
    return { changes: state.drift.length > 0 || changedFields(state, args).length > 0 };
  },

  async create(args, client) {
    return { id: `${args.project}/${args.alias}`, state: await ensure(args, client, false) };
  },

  async read(_id, state, client) {
    const [images, pools, store] = await Promise.all([
      shared(client, "images", listImages),
      shared(client, "pools", listPools),
      storeOf(client, state.project),
    ]);
    const found =
      state.alias === "*"
        ? await fitting(client, images, store)
        : [imageNamed(images, store, state.alias) ?? []].flat();
    if (found.length === 0 && state.alias !== "*") {
      if (state.imported) return undefined;
      return { ...state, fingerprint: "", drift: [`image ${state.alias} is not on the host any more`] };
    }
    const pool = pools.find(({ name }) => name === state.pool);
    const drift: string[] = [];
    let warmed: string[] = [];
    if (pool && isCopyOnWrite(pool.driver)) {
      const warm = await shared(client, `warm:${state.pool}`, () => listWarmFingerprints(client, state.pool));
      warmed = found
        .map(({ fingerprint }) => fingerprint)
        .filter((fingerprint) => warm.includes(fingerprint));
      for (const { fingerprint, aliases } of found) {
        if (warmed.includes(fingerprint)) continue;
        drift.push(
          `image ${aliases[0]?.name ?? ""} (${fingerprint.slice(0, 12)}) is not unpacked in pool ${state.pool}`,
        );
      }
    } else if (!pool) drift.push(`pool ${state.pool} is not there`);
    const fingerprint = found.map((image) => image.fingerprint).join(",");
    return { ...state, fingerprint, warmFingerprint: warmed.join(","), drift };
  },

  async update(_id, state, args, client) {
    return ensure(args, client, changedFields(state, args, ["host", "owner", "pool"]).includes("source"));
  },

  async delete(_id, state, client) {
    if (!state.imported) return;
    const { project } = state;
    const fingerprint = (await findImageAlias(client, project, state.alias))?.target;
    if (fingerprint === undefined) return;
    const image = await findImage(client, project, fingerprint);
    if (!image || !isOfSameStack(image.properties[OWNER_KEY], state.owner)) return;
    // With an image go all its aliases, another resource's too; so the last one takes it along.
    if (image.aliases.length > 1) await deleteImageAlias(client, project, state.alias);
    else await deleteImage(client, project, fingerprint, { deadline: 120_000 });
  },
};

export const warmImageProvider = dynamicProvider("WarmImage", lifecycle);

const provider = shim("WarmImage");

/** See {@link WarmImageArgs}. */
export class WarmImage extends pulumi.dynamic.Resource {
  declare readonly fingerprint: pulumi.Output<string>;
  declare readonly warmFingerprint: pulumi.Output<string>;

  constructor(name: string, args: InputsOf<typeof WarmImageArgs>, opts?: pulumi.CustomResourceOptions) {
    super(
      provider,
      name,
      { ...args, fingerprint: undefined, warmFingerprint: undefined },
      opts,
      "incus",
      "WarmImage",
    );
  }
}
