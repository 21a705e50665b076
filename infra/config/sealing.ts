import type { HostConfig } from "./config.ts";
import { mapValues } from "./map-values.ts";

/** What of a host's config is encrypted, by path: it stays a secret wherever it goes. */
export class Sealing {
  readonly #encrypted: readonly (readonly PropertyKey[])[];

  /** @param encrypted paths below the hosts, the first part of each a host's name */
  constructor(encrypted: readonly (readonly PropertyKey[])[]) {
    this.#encrypted = encrypted;
  }

  /** Whether anything at a path, or below it, is encrypted. */
  holds(...path: PropertyKey[]): boolean {
    return this.#encrypted.some((one) => path.every((part, index) => String(one[index]) === String(part)));
  }

  /** The hosts with what of each agent is encrypted, so that nobody who compares it tells its value. */
  mark(hosts: Record<string, HostConfig>): Record<string, HostConfig> {
    return mapValues(hosts, (host) => ({
      ...host,
      agents: mapValues(host.agents, (agent, name) => {
        const secretProps = Object.keys(agent).filter((key) => this.holds(host.name, "agents", name, key));
        return secretProps.length > 0 ? { ...agent, secretProps: secretProps.sort() } : agent;
      }),
    }));
  }
}
