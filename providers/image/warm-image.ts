import { VisibleError } from "../common/errors.ts";
import { nearestNames } from "../common/names.ts";
import type { IncusClient } from "../incus/client.ts";
import { unfitness } from "../incus/image-fitness.ts";
import { aliasedImages, imageNamed, imageStore } from "../incus/image-store.ts";
import { deleteImage, deleteImageAlias, findImage, findImageAlias, listImages } from "../incus/images.ts";
import { withLock } from "../incus/lock.ts";
import { listPools, listWarmFingerprints } from "../incus/pools.ts";
import type { Image } from "../incus/schemas.ts";
import { getServer, listProjects } from "../incus/server.ts";
import { shared } from "../incus/shared.ts";
import { OWNER_KEY } from "../marks/keys.ts";
import { isOfSameStack } from "../marks/ownership.ts";
import { isCopyOnWrite } from "../pool/drivers.ts";
import { defineResource } from "../pulumi/definition.ts";
import { changedFields } from "../pulumi/drift.ts";
import type { CommonState, Lifecycle } from "../pulumi/lifecycle.ts";
import { WarmImageArgs } from "./image-args.ts";
import { checkImageFiles, importImage } from "./import.ts";
import { ensureWarm } from "./warming.ts";

interface WarmImageState extends WarmImageArgs, CommonState {
  /** What the alias points at (for `*`, all of them, joined by commas); empty where there is none. */
  fingerprint: string;
  /** Fingerprint that is unpacked in the pool; empty where it is not, or where the pool's driver cannot. */
  warmFingerprint: string;
  /** True where this stack brought the image: then its deletion removes it. */
  imported: boolean;
  drift: string[];
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

const lifecycle: Lifecycle<WarmImageArgs, WarmImageState> = {
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

export const warmImage = defineResource("WarmImage", WarmImageArgs, lifecycle, [
  "fingerprint",
  "warmFingerprint",
]);
