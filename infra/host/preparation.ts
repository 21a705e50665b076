import * as pulumi from "@pulumi/pulumi";
import type { HostConfig } from "../config/config.ts";
import type { Sealing } from "../config/sealing.ts";
import type { Plan } from "../plan/plan.ts";
import { planErrors } from "../plan/plan.ts";
import { requireCommandPlugin } from "./command-plugin.ts";
import { orEmpty } from "./failed-resources.ts";

/** A host's preparation, a resource before all others of that host. */
export interface Preparation {
  resource: pulumi.Resource;
  /** Waits for its end. @returns false where it failed, which Pulumi has said then */
  isDone(): Promise<boolean>;
}

/** Runs `commands/prepare-command.ts` from the directory of this program. */
const INTERPRETER = ["node", "commands/prepare-command.ts"];

/**
 * Declares the preparation of each host that has `prepare`; `@pulumi/command` is loaded only where one has.
 * @throws VisibleError where its plugin is missing
 */
export async function declarePreparations(
  hosts: Record<string, HostConfig>,
  plan: Plan,
  sealing: Sealing,
): Promise<Record<string, Preparation>> {
  const wanted = plan.hosts.flatMap((hostPlan) => {
    const host = hosts[hostPlan.host];
    return host?.prepare ? [{ host, wish: host.prepare, hostPlan }] : [];
  });
  if (wanted.length === 0) return {};
  requireCommandPlugin();
  const { local } = await import("@pulumi/command");
  const preparations = wanted.map(({ host, wish, hostPlan }): [string, Preparation] => {
    const lines = hostPlan.actions.filter(({ kind }) => kind === "prepare").map(({ reason }) => reason);
    const errors = planErrors({ hosts: [hostPlan] });
    const { name, connection } = host.connection;
    const request = JSON.stringify({
      host: { name, connection },
      wish,
      ...(errors.length === 0 ? {} : { hold: errors.join("\n") }),
    });
    // The command has no read of its own: what the dry run found is what runs it again.
    const occasion = [...lines, new Date().toISOString()].join("\n");
    const resource = new local.Command(
      `${host.name}/prepared`,
      {
        interpreter: INTERPRETER,
        create: host.name,
        stdin: sealing.holds(host.name, "connection") ? pulumi.secret(request) : request,
        triggers: [JSON.stringify(wish), occasion],
        addPreviousOutputInEnv: false,
      },
      { ignoreChanges: errors.length > 0 ? ["stdin", "triggers"] : lines.length > 0 ? [] : ["triggers[1]"] },
    );
    const done = orEmpty(resource.id.apply(() => "done"));
    const isDone = (): Promise<boolean> =>
      new Promise((resolve) => done.apply((text) => resolve(text !== "")));
    return [host.name, { resource, isDone }];
  });
  return Object.fromEntries(preparations);
}
