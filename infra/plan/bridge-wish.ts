import type { HostConfig } from "../config/config.ts";

/** Bridge that a new host gets. taOS' firewall rules name it. */
const USUAL_BRIDGE = "incusbr0";

/** The bridge of a host, for planner and resources alike: without a word in the config it is made only where needed. */
export function bridgeWish({ bridge }: HostConfig): { name: string; ifNeeded: boolean } {
  return { name: bridge ?? USUAL_BRIDGE, ifNeeded: bridge === undefined };
}
