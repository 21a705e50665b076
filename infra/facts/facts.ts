import {
  agentChanges,
  clientFor,
  type HostLook,
  lookAtHost,
  lookAtPreparation,
  messageOf,
  type PreparationLook,
  registerByToken,
} from "@taos-hosts/providers";
import { instanceArgs } from "../config/agent-args.ts";
import type { HostConfig } from "../config/config.ts";
import { prepareScript } from "../config/prepare-script.ts";
import { ENCRYPTED } from "../config/stack-yaml.ts";

/** How long a host has to answer, in milliseconds, sizes included. */
const LOOK_DEADLINE = 20_000;

/**
 * What one look at a host showed, or why there was none: it is out of reach, or it is to be prepared and what is on it
 * shows only then.
 */
export type HostFacts = ({ look: HostLook } | { unreachable: string } | { unseen: string }) & {
  /** What preparing it would do, a line for each thing; absent where nothing. */
  preparation?: readonly string[];
};

export interface FactsOptions {
  /** Milliseconds for each host. @default 20000 */
  deadline?: number;
  /** Measure what containers occupy, where the host's files can be read. @default true */
  sizes?: boolean;
  /** Has a host that does not trust this client yet do so, where the config has a token for it. @default false */
  registers?: boolean;
  signal?: AbortSignal;
}

/**
 * Looks at all hosts at once, read-only but for `registers`. A host that does not answer in time, or not at all, is a fact too: the
 * others go on.
 */
export async function gatherFacts(
  hosts: Record<string, HostConfig>,
  options: FactsOptions = {},
): Promise<Record<string, HostFacts>> {
  const { deadline = LOOK_DEADLINE, sizes = true, registers = false, signal } = options;
  const looked = Object.values(hosts).map(async (host): Promise<[string, HostFacts]> => {
    const named = (names: readonly string[]): { name: string; project: string }[] =>
      names.map((name) => ({
        name,
        project: (host.containers[name] ?? host.agents[name])?.project ?? host.project,
      }));
    const preparation = await preparationOf(host, deadline, signal);
    if ("unreachable" in preparation) return [host.name, preparation];
    const { lines, newHost } = preparation;
    const prepares = lines.length === 0 ? {} : { preparation: lines };
    if (newHost) return [host.name, { look: newHost, ...prepares }];
    try {
      const client = clientFor(host.connection);
      if (registers && host.trustToken !== undefined) await registerByToken(client, host.trustToken);
      const look = await lookAtHost(client, {
        deadline,
        sizes,
        undo: named(host.optIn.undo),
        moving: named(host.optIn.migrate),
        // Owner and pool are not compared.
        changesOf: agentChanges(
          Object.entries(host.agents).map(([name, agent]) => ({
            name,
            owner: "",
            pool: "",
            ...instanceArgs(agent),
          })),
          ENCRYPTED,
        ),
        ...(signal ? { signal } : {}),
      });
      return [host.name, { look, ...prepares }];
    } catch (error) {
      const reason = messageOf(error);
      return [host.name, lines.length === 0 ? { unreachable: reason } : { unseen: reason, ...prepares }];
    }
  });
  return Object.fromEntries(await Promise.all(looked));
}

async function preparationOf(
  { prepare, connection }: HostConfig,
  deadline: number,
  signal: AbortSignal | undefined,
): Promise<PreparationLook | { unreachable: string }> {
  if (prepare === undefined) return { lines: [], newHost: null };
  try {
    return await lookAtPreparation(clientFor(connection), prepareScript(), prepare, { deadline, signal });
  } catch (error) {
    return { unreachable: messageOf(error) };
  }
}
