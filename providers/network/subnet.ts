import { createHash } from "node:crypto";
import { BlockList, isIPv4 } from "node:net";
import type { IncusClient } from "../incus/client.ts";
import { listNetworkAddresses, listNetworks } from "../incus/networks.ts";

/** Subnets that are tried, each derived from the last. */
const CANDIDATES = 64;

/**
 * An address such as `10.83.212.1/24` in a subnet that no interface of the host is in. The same host and name give
 * the same one, as long as it is free.
 *
 * Incus picks one itself, and refuses where something answers on every address (a router that accepts any
 * connection): then its own search finds none (internal/server/network, randomSubnetV4).
 */
export async function freeSubnet(client: IncusClient, seed: string): Promise<string | undefined> {
  const networks = await listNetworks(client);
  const addresses = await Promise.all(networks.map(({ name }) => listNetworkAddresses(client, name)));
  const inUse = addresses.flat().filter(({ address }) => isIPv4(address));
  let digest = createHash("sha256").update(seed).digest();
  for (let attempt = 0; attempt < CANDIDATES; attempt++) {
    const [second = 0, third = 0] = digest;
    const candidate = `10.${second}.${third}`;
    const subnet = new BlockList();
    subnet.addSubnet(`${candidate}.0`, 24);
    const overlaps = inUse.some(({ address, netmask }) => {
      const other = new BlockList();
      other.addSubnet(address, Math.min(32, Number(netmask) || 24));
      return subnet.check(address) || other.check(`${candidate}.1`);
    });
    if (!overlaps) return `${candidate}.1/24`;
    digest = createHash("sha256").update(digest).digest();
  }
  return undefined;
}
