import { z } from "zod";
import { IncusApiError, VisibleError } from "../common/errors.ts";
import { ObjectName } from "../common/names.ts";
import type { IncusClient } from "../incus/client.ts";
import { createNetwork, deleteNetwork, findNetwork, listNetworks, patchNetwork } from "../incus/networks.ts";
import { parseApiUrl } from "../incus/paths.ts";
import { listProfiles } from "../incus/profiles.ts";
import { qualifiedName } from "../incus/root-disk.ts";
import type { Network as LiveNetwork } from "../incus/schemas.ts";
import { shared } from "../incus/shared.ts";
import { OWNER_KEY, RELEASED_KEY } from "../marks/keys.ts";
import { isReleased, ownershipOf } from "../marks/ownership.ts";
import { profileNeeds, profileUseOf } from "../profile/needs.ts";
import { defineResource } from "../pulumi/definition.ts";
import { changedFields, configDrift } from "../pulumi/drift.ts";
import { CommonArgs, type CommonState, type Lifecycle } from "../pulumi/lifecycle.ts";
import { progressFor } from "../pulumi/progress.ts";
import { freeSubnet } from "./subnet.ts";

/**
 * A managed bridge of this name exists.
 *
 * @example
 * new Network("orange-1/incusbr0", { host, owner, name: "incusbr0" });
 */
export const NetworkArgs = CommonArgs.extend({
  /** Name of the bridge, at most 15 characters (the kernel's limit for interfaces). */
  name: ObjectName.max(15, "must have at most 15 characters"),
  /** Incus network config for a new bridge. @default {} (addresses picked by Incus) */
  config: z.record(z.string(), z.string()).default({}),
  /** Make nothing where there is no such bridge: the host is only reported on. @default false */
  leave: z.boolean().default(false),
  /** Make it only where the default profile gets its interface on it: nobody asked for it otherwise. @default false */
  ifNeeded: z.boolean().default(false),
});
export type NetworkArgs = z.infer<typeof NetworkArgs>;

interface NetworkState extends NetworkArgs, CommonState {
  /** True where the bridge was there before: then it is never changed nor deleted. */
  adopted: boolean;
  /** Differences on the host from what was set, as of the last refresh. */
  drift: string[];
}

/** Keys that Incus fills in: `auto` becomes an address. */
function comparable(config: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== "auto"));
}

/**
 * A run that is killed while Incus makes its bridge leaves it pending for ever: Incus takes the files back, but not the
 * database entry (seen on 6.0.4). Nothing can use such a bridge.
 */
function isUnfinished(network: LiveNetwork, owner: string): boolean {
  return network.status === "Pending" && ownershipOf(network.config, owner) === "ours";
}

/** True where no bridge is to be made: nothing may be written, or the default profile has and gets no interface on it. */
async function isUnwanted({ name, leave, ifNeeded }: NetworkArgs, client: IncusClient): Promise<boolean> {
  if (leave || !ifNeeded) return leave;
  const profiles = await shared(client, "profiles", listProfiles);
  const profile = profiles.find((one) => one.name === "default" && one.project === "default");
  if (!profile || profileNeeds(profileUseOf(profile)).includes("eth0")) return false;
  return Object.values(profile.devices).every((device) => device["network"] !== name);
}

/** What uses a network, for people: qualified names of instances, others with their kind before them. */
export function networkUsers(usedBy: readonly string[]): string[] {
  return usedBy.map((url) => {
    const { kind, segments, project } = parseApiUrl(url);
    const name = qualifiedName({ project, name: segments.join("/") });
    return kind === "instances" ? name : `${kind.replace(/s$/, "")} ${name}`;
  });
}

/** Makes the bridge; where Incus finds no addresses for it, once more with one that no interface of the host uses. */
async function makeBridge(client: IncusClient, args: NetworkArgs): Promise<void> {
  const create = (config: Record<string, string>): Promise<void> =>
    createNetwork(client, {
      name: args.name,
      type: "bridge",
      description: "",
      config: { ...config, ...args.config, [OWNER_KEY]: args.owner },
    });
  try {
    await create({});
  } catch (error) {
    const isFinal = !(error instanceof IncusApiError) || error.status < 500 || "ipv4.address" in args.config;
    const address = isFinal ? undefined : await freeSubnet(client, args.owner);
    if (address === undefined) throw error;
    progressFor(args.host.name, `network ${args.name}`)(`Incus gave it no address; trying ${address}`);
    await create({ "ipv4.address": address, "ipv4.nat": "true", "ipv6.address": "none" }).catch(() => {
      throw error;
    });
  }
}

const lifecycle: Lifecycle<NetworkArgs, NetworkState> = {
  diff(state, args) {
    if (state.name !== args.name) return { changes: true, replaces: ["name"] };
    if (state.adopted) return { changes: changedFields(state, args).length > 0 };
    return { changes: state.drift.length > 0 || changedFields(state, args).length > 0 };
  },

  async create(args, client) {
    const id = args.name;
    let existing = await findNetwork(client, args.name);
    if (existing && isUnfinished(existing.value, args.owner)) {
      await deleteNetwork(client, args.name);
      existing = undefined;
    }
    if (existing) {
      const adopted = ownershipOf(existing.value.config, args.owner) !== "ours";
      if (!adopted && isReleased(existing.value.config))
        await patchNetwork(client, existing, { [RELEASED_KEY]: "" });
      return { id, state: { ...args, adopted, drift: [] } };
    }
    if (await isUnwanted(args, client)) return { id, state: { ...args, adopted: true, drift: [] } };
    try {
      await makeBridge(client, args);
    } catch (error) {
      if (error instanceof IncusApiError && error.status === 409) return lifecycle.create(args, client);
      throw new VisibleError(
        `Failed to create network "${args.name}": ${error instanceof IncusApiError ? error.reason : String(error)}. Check that dnsmasq and nftables are installed and that no other interface has this name.`,
      );
    }
    return { id, state: { ...args, adopted: false, drift: [] } };
  },

  async read(id, state, client) {
    const network = (await shared(client, "networks", listNetworks)).find(({ name }) => name === id);
    if (!network) return (await isUnwanted(state, client)) ? state : undefined;
    if (state.adopted) return { ...state, drift: [] };
    const unfinished = isUnfinished(network, state.owner) ? [`network ${id} is pending`] : [];
    return { ...state, drift: [...unfinished, ...configDrift(comparable(state.config), network.config)] };
  },

  async update(id, state, args, client) {
    const network = await findNetwork(client, id);
    if (!network || isUnfinished(network.value, args.owner)) {
      const created = await lifecycle.create(args, client);
      return created.state;
    }
    if (!state.adopted) {
      const removed = Object.keys(state.config).filter((key) => !(key in args.config));
      const wanted = { ...comparable(args.config), [OWNER_KEY]: args.owner };
      const change = { ...Object.fromEntries(removed.map((key) => [key, ""])), ...wanted };
      if (configDrift(change, network.value.config).length > 0) await patchNetwork(client, network, change);
    }
    return { ...args, adopted: state.adopted, drift: [] };
  },

  async delete(id, state, client) {
    const network = await findNetwork(client, id);
    if (!network || state.adopted || ownershipOf(network.value.config, state.owner) !== "ours") return;
    const users = networkUsers(network.value.used_by);
    if (users.length > 0) {
      progressFor(state.host.name, `network ${id}`)(`left in place: it holds ${users.join(", ")}`);
      await patchNetwork(client, network, { [RELEASED_KEY]: "true" });
      return;
    }
    await deleteNetwork(client, id);
  },
};

export const network = defineResource("Network", NetworkArgs, lifecycle, ["name", "adopted"]);
