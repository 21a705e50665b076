import { withSlot } from "@taos-hosts/providers";
import { Sealing } from "../config/sealing.ts";
import { gatherFacts } from "../facts/facts.ts";
import { type HostPlan, planHosts } from "../plan/plan.ts";
import type { FleetHost } from "./fleet-file.ts";

/** Looks at the same time: none of them starts a process or writes anything. */
const LOOKS = 32;

/** One read-only look at a host, and what `up` of its stack would do there. A host that does not answer is in the plan. */
export async function lookAt(host: FleetHost, project: string, signal: AbortSignal): Promise<HostPlan> {
  return withSlot("looks", LOOKS, async () => {
    const hosts = new Sealing(host.encrypted).mark({ [host.name]: host.config });
    const facts = await gatherFacts(hosts, { signal });
    const [plan] = planHosts(hosts, facts, { project, stack: host.name }).hosts;
    if (!plan) throw new Error(`no plan for ${host.name}`);
    return plan;
  });
}
