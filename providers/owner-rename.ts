import { z } from "zod";
import type { IncusClient } from "./incus/client.ts";
import { listImages } from "./incus/images.ts";
import { changeInstance } from "./incus/instance-patch.ts";
import { listInstances } from "./incus/instances.ts";
import { findNetwork, listNetworks, patchNetwork } from "./incus/networks.ts";
import { api } from "./incus/paths.ts";
import { findPool, listPools, patchPool } from "./incus/pools.ts";
import { qualifiedName } from "./incus/root-disk.ts";
import { OWNER_KEY, PARKED_KEY } from "./marks/keys.ts";

/** One object on a host that carries a mark of the name before. */
export interface MarkedObject {
  kind: "instance" | "pool" | "network" | "image";
  project: string;
  name: string;
  /** For people: `instance user-1000/iris`. */
  label: string;
}

/** What a mark becomes: `from` and `to` are its first three parts, with the slash behind them. */
export interface MarkChange {
  from: string;
  to: string;
}

/** Everything on a host that carries a mark beginning with `change.from`, also in the record of a parked instance. */
export async function markedObjects(client: IncusClient, change: MarkChange): Promise<MarkedObject[]> {
  const [instances, pools, networks, images] = await Promise.all([
    listInstances(client),
    listPools(client),
    listNetworks(client),
    listImages(client),
  ]);
  const isOld = (mark: string | undefined): boolean => mark?.startsWith(change.from) ?? false;
  const object = (kind: MarkedObject["kind"], name: string, project = "default"): MarkedObject => ({
    ...{ kind, name, project },
    label: `${kind} ${qualifiedName({ project, name })}`,
  });
  return [
    ...instances
      .filter(({ config }) => isOld(config[OWNER_KEY]) || isOld(recordOf(config)?.owner))
      .map(({ name, project }) => object("instance", name, project)),
    ...pools.filter(({ config }) => isOld(config?.[OWNER_KEY])).map(({ name }) => object("pool", name)),
    ...networks.filter(({ config }) => isOld(config[OWNER_KEY])).map(({ name }) => object("network", name)),
    ...images
      .filter(({ properties }) => isOld(properties[OWNER_KEY]))
      .map(({ fingerprint, project }) => object("image", fingerprint, project)),
  ];
}

/** Gives an object the mark of the new name, and changes nothing else of it. Safe to repeat. */
export async function renameMark(
  client: IncusClient,
  { kind, project, name }: MarkedObject,
  change: MarkChange,
): Promise<void> {
  if (kind === "instance") {
    await changeInstance(client, { project, name }, ({ config }) => {
      const record = recordOf(config);
      const owner = renamed(config[OWNER_KEY], change);
      const recorded = renamed(record?.owner, change);
      const marks = {
        ...(owner === undefined ? {} : { [OWNER_KEY]: owner }),
        ...(recorded === undefined ? {} : { [PARKED_KEY]: JSON.stringify({ ...record, owner: recorded }) }),
      };
      return Object.keys(marks).length > 0 ? { config: marks } : undefined;
    });
  } else if (kind === "pool") {
    const pool = await findPool(client, name);
    const owner = renamed(pool?.value.config?.[OWNER_KEY], change);
    if (pool && owner !== undefined) await patchPool(client, pool, { config: { [OWNER_KEY]: owner } });
  } else if (kind === "network") {
    const network = await findNetwork(client, name);
    const owner = renamed(network?.value.config[OWNER_KEY], change);
    if (network && owner !== undefined) await patchNetwork(client, network, { [OWNER_KEY]: owner });
  } else {
    const image = (await listImages(client)).find(
      (one) => one.fingerprint === name && one.project === project,
    );
    const owner = renamed(image?.properties[OWNER_KEY], change);
    if (owner === undefined) return;
    const body = { properties: { ...image?.properties, [OWNER_KEY]: owner } };
    await client.write("PATCH", api("images", name), { query: { project }, body });
  }
}

/** A mark with its beginning changed; undefined where it has not that beginning. */
export function renamed(mark: string | undefined, { from, to }: MarkChange): string | undefined {
  return mark?.startsWith(from) ? `${to}${mark.slice(from.length)}` : undefined;
}

const ParkedOwner = z.looseObject({ owner: z.string() });

function recordOf(config: { [key: string]: string }): z.infer<typeof ParkedOwner> | undefined {
  try {
    return ParkedOwner.safeParse(JSON.parse(config[PARKED_KEY] ?? "")).data;
  } catch {
    return undefined;
  }
}
