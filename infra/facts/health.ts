import { clientFor, type HealthLook, lookAtHealth, messageOf } from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";

/** What a look at a host's health showed, or why there was none. */
export type HealthFacts = { look: HealthLook } | { unreachable: string };

/** Looks at the health of all hosts at once, read-only; each has `deadline` milliseconds to answer. */
export async function gatherHealth(
  hosts: Record<string, HostConfig>,
  limits: readonly string[],
  deadline: number,
): Promise<[host: string, facts: HealthFacts][]> {
  return Promise.all(
    Object.values(hosts).map(async ({ name, connection }): Promise<[string, HealthFacts]> => {
      try {
        return [name, { look: await lookAtHealth(clientFor(connection), { deadline, limits }) }];
      } catch (error) {
        return [name, { unreachable: messageOf(error) }];
      }
    }),
  );
}
