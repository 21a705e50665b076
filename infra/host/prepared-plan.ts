import * as pulumi from "@pulumi/pulumi";
import { clientFor } from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";
import { gatherFacts, type HostFacts } from "../facts/facts.ts";
import { type Plan, type PlanContext, planErrors, planHosts } from "../plan/plan.ts";
import { changedSince, withHeld } from "../run/previewed-plan.ts";
import type { Preparation } from "./preparation.ts";

/** What is known when the hosts' preparations have been declared. */
export interface BeforePreparation {
  hosts: Record<string, HostConfig>;
  facts: Record<string, HostFacts>;
  owner: PlanContext;
  /** The plan that was told; nothing else is done. */
  agreed: Plan;
  preparations: Record<string, Preparation>;
}

/**
 * Waits for the hosts that are being prepared, looks at them again and plans what follows from what is there. A host
 * whose plan is another one then is held, as one that changed after its preview.
 */
export async function planPrepared(before: BeforePreparation): Promise<Plan> {
  const { hosts, facts, owner, agreed, preparations } = before;
  const prepared = agreed.hosts.flatMap((hostPlan) => {
    const host = hosts[hostPlan.host];
    const preparation = preparations[hostPlan.host];
    const isAwaited = hostPlan.actions.some(({ kind }) => kind === "prepare");
    const isHeld = planErrors({ hosts: [hostPlan] }).length > 0;
    return host && preparation && isAwaited && !isHeld ? [{ host, preparation }] : [];
  });
  if (prepared.length === 0) return agreed;
  const seen = await Promise.all(
    prepared.map(async ({ host, preparation }): Promise<[string, HostFacts]> => {
      if (!(await preparation.isDone())) return [host.name, { unreachable: "it could not be prepared" }];
      // A connection that was open before has the groups and the socket of before.
      await clientFor(host.connection).close();
      const { [host.name]: now = { unreachable: "it was not looked at" } } = await gatherFacts({
        [host.name]: host,
      });
      const { preparation: lines = [] } = facts[host.name] ?? {};
      return [host.name, { ...now, preparation: lines }];
    }),
  );
  const plan = planHosts(hosts, { ...facts, ...Object.fromEntries(seen) }, owner);
  // Hosts that were not prepared keep the plan that was told, with what held them.
  const names = new Set(seen.map(([name]) => name));
  const merged = {
    hosts: plan.hosts.map((one) =>
      names.has(one.host) ? one : (agreed.hosts.find(({ host }) => host === one.host) ?? one),
    ),
  };
  const checked = withHeld(merged, { changed: changedSince(agreed, merged) });
  const reached = checked.hosts.filter(({ host, unreachable }) => names.has(host) && unreachable === null);
  for (const error of planErrors({ hosts: reached })) await pulumi.log.error(error);
  return checked;
}
