import type { Found, IncusClient, Versioned } from "./client.ts";
import { api } from "./paths.ts";
import { Lease, Network, NetworkState } from "./schemas.ts";

export function listNetworks(client: IncusClient): Promise<Network[]> {
  return client.list(api("networks"), Network, { query: { recursion: 1 } });
}

export function findNetwork(client: IncusClient, name: string): Found<Network> {
  return client.find(api("networks", name), Network);
}

export function createNetwork(
  client: IncusClient,
  network: { name: string; type: string; description: string; config: Record<string, string> },
): Promise<void> {
  return client.write("POST", api("networks"), { body: network });
}

/** Merges single config keys; the others stay. A PATCH without description empties it (seen on 6.0.4). */
export function patchNetwork(
  client: IncusClient,
  current: Versioned<Network>,
  config: Record<string, string>,
): Promise<void> {
  const { name, description } = current.value;
  return client.write("PATCH", api("networks", name), { body: { description, config }, etag: current.etag });
}

/** Addresses of a network's interface on the host, managed or not; none where it has no interface. */
export async function listNetworkAddresses(
  client: IncusClient,
  name: string,
): Promise<{ address: string; netmask: string }[]> {
  return (await client.find(api("networks", name, "state"), NetworkState))?.value.addresses ?? [];
}

export function deleteNetwork(client: IncusClient, name: string): Promise<void> {
  return client.write("DELETE", api("networks", name));
}

/** DHCP leases of a managed bridge, one cheap request for all its instances. */
export function listLeases(client: IncusClient, network: string, project: string): Promise<Lease[]> {
  return client.list(api("networks", network, "leases"), Lease, { query: { project } });
}
