/** One network interface, as far as Incus compares it with others when an instance starts. */
export interface NicLook {
  /** The network or bridge it is on. */
  network: string;
  /** Found by the name of a network, which is one of the project's own where that has networks of its own. */
  byNetwork: boolean;
  vlan: string;
  mac: string;
  addresses: string[];
}

/** An instance with its interfaces. */
export interface NicHolder {
  name: string;
  project: string;
  nics?: NicLook[] | undefined;
}

/** Networks of the host (of project `default`), and projects that have networks of their own. */
export interface NetworkWorld {
  networks: readonly { name: string; type: string; managed: boolean }[];
  ownNetworks: readonly string[];
}

/** The interfaces of an instance, with the MAC addresses that Incus gave them. */
export function nicsOf(instance: {
  config: Record<string, string>;
  expanded_devices: Record<string, Record<string, string>>;
}): NicLook[] {
  return Object.entries(instance.expanded_devices).flatMap(([name, device]) => {
    const network = device["network"] ?? device["parent"];
    const isBridged = device["network"] !== undefined || device["nictype"] === "bridged";
    if (device["type"] !== "nic" || network === undefined || !isBridged) return [];
    const mac = device["hwaddr"] ?? instance.config[`volatile.${name}.hwaddr`] ?? "";
    const addresses = [device["ipv4.address"], device["ipv6.address"]].filter(
      (one): one is string => one !== undefined && one !== "" && one !== "none",
    );
    const vlan = device["vlan"] ?? "";
    return [{ network, byNetwork: device["network"] !== undefined, vlan, mac: mac.toLowerCase(), addresses }];
  });
}

/**
 * Why Incus would not start an instance again, once it is stopped, beside the others of its host: on a bridge each
 * name (on a managed one), MAC and fixed address is there once. Incus compares at the start, not when the other one
 * is made, so a running container may be in this state for long (device/nic_bridged.go, checkAddressConflict).
 */
export function startRefusal(
  container: NicHolder,
  others: readonly NicHolder[],
  world: NetworkWorld,
): { reason: string; remedy: string } | undefined {
  for (const nic of bridged(container, world)) {
    for (const other of others) {
      if (other.name === container.name && other.project === container.project) continue;
      for (const theirs of bridged(other, world)) {
        if (theirs.network !== nic.network || theirs.vlan !== nic.vlan) continue;
        const shared = sharedBy(container, nic, other, theirs, world);
        if (shared !== undefined) return refusalOf(container, other, nic.network, shared);
      }
    }
  }
  return undefined;
}

function bridged({ project, nics = [] }: NicHolder, { networks, ownNetworks }: NetworkWorld): NicLook[] {
  return nics.filter(
    ({ network, byNetwork }) =>
      !(byNetwork && ownNetworks.includes(project)) &&
      networks.some(({ name, type }) => name === network && type === "bridge"),
  );
}

function sharedBy(
  container: NicHolder,
  nic: NicLook,
  other: NicHolder,
  theirs: NicLook,
  { networks }: NetworkWorld,
): string | undefined {
  const isManaged = networks.some(({ name, managed }) => name === nic.network && managed);
  if (isManaged && container.name.toLowerCase() === other.name.toLowerCase()) return "name";
  if (nic.mac !== "" && nic.mac === theirs.mac) return `MAC address ${nic.mac}`;
  const address = nic.addresses.find((one) => theirs.addresses.includes(one));
  return address === undefined ? undefined : `address ${address}`;
}

function refusalOf(
  container: NicHolder,
  other: NicHolder,
  network: string,
  shared: string,
): { reason: string; remedy: string } {
  const shown = other.project === "default" ? other.name : `${other.name} of project ${other.project}`;
  const remedy =
    shared === "name"
      ? `Give the other one another name (stopped: incus rename ${other.name} NEW --project ${other.project}), or take it off network ${network}, then run again.`
      : `Give the other one another address (incus config device … ${other.name} --project ${other.project}), or take it off network ${network}, then run again.`;
  return {
    reason: `${shown} has the same ${shared} on network ${network}, so Incus would not start ${container.name} again once it is stopped`,
    remedy,
  };
}
