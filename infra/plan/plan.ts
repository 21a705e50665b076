import { ownerMark } from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";
import type { HostFacts } from "../facts/facts.ts";
import { planAgents, protectedAgents } from "./agents.ts";
import { planContainers, volumeRemarks } from "./containers.ts";
import { planImages } from "./images.ts";
import { launchRemarks, planLaunches } from "./launches.ts";
import { planParked } from "./parked-removal.ts";
import { USUAL_POOL } from "./pool-wishes.ts";
import { planPools } from "./pools.ts";
import { planNetwork, planProfiles } from "./profiles.ts";
import { planProjects } from "./projects.ts";
import { compatibilityRemarks } from "./remarks.ts";
import { planRemovedObjects } from "./removed-objects.ts";
import { containerRows } from "./rows.ts";
import type { HostPlan, Plan } from "./types.ts";

export type { Action, ContainerRow, HostPlan, Plan } from "./types.ts";

/** Whose plan it is: ownership marks tell what this stack made. */
export interface PlanContext {
  /** Pulumi project and stack. */
  project: string;
  stack: string;
}

/**
 * What would happen to the hosts of a stack: pure, so that preview, report and tests see the same. No action ever
 * names a container that no opt-in names (agents of this stack with `protected: false` apart).
 */
export function planHosts(
  hosts: Record<string, HostConfig>,
  facts: Record<string, HostFacts>,
  context: PlanContext,
): Plan {
  return {
    hosts: Object.values(hosts).map((host) => {
      const known = facts[host.name] ?? { unreachable: "it was not looked at" };
      return planHost(host, known, (name) => ownerMark(context.project, context.stack, host.name, name));
    }),
  };
}

function planHost(host: HostConfig, facts: HostFacts, owner: (name: string) => string): HostPlan {
  if ("unreachable" in facts) return unreachablePlan(host, facts.unreachable);
  const { look } = facts;
  const pools = planPools(host, look, owner(host.name));
  const { effective } = pools;
  const projects = planProjects(host, look);
  const images = planImages(host, look, effective, projects.missing);
  const containers = planContainers(host, look, effective, projects.missing, owner);
  const network = planNetwork(host, look, effective, pools.main.action === "leave" && pools.cow === null);
  const placed = [
    pools,
    projects,
    network,
    images,
    containers,
    planProfiles(look, effective, containers, pools),
    planAgents(host, look, effective, owner, {
      images: images.missing,
      projects: projects.missing,
      networkAdded: network.actions.some(
        ({ kind, detail }) => kind === "add-profile-devices" && detail?.includes("eth0"),
      ),
    }),
  ];
  const kept = [
    ...placed,
    planParked(
      host,
      look,
      placed.flatMap((part) => part.actions),
    ),
  ];
  const removed = planRemovedObjects(host, look, owner, {
    pools: pools.wanted,
    actions: kept.flatMap((part) => part.actions),
  });
  const parts = [...kept, removed];
  const actions = parts.flatMap((part) => part.actions);
  const refusals = parts.flatMap((part) => part.refusals);
  const launches = planLaunches(host, look, effective, actions);
  return {
    host: host.name,
    unreachable: null,
    pool: {
      name: effective?.name ?? pools.name,
      main: pools.name,
      driver: effective?.driver ?? look.pools.find(({ name }) => name === pools.name)?.driver ?? null,
      mode: pools.mode,
      sizeBytes: effective?.sizeBytes ?? null,
      freeBytes: effective?.freeBytes ?? null,
      decision: pools.main,
      cowDecision: pools.cow,
    },
    launches,
    actions,
    refusals,
    remarks: [
      ...parts.flatMap((part) => part.remarks),
      ...(pools.cow === null ? launchRemarks(launches, effective) : []),
      ...volumeRemarks(look, containers.moves),
      ...compatibilityRemarks(host, look, effective),
    ],
    containers: containerRows(host, look, effective, { actions, refusals }),
    protectedAgents: protectedAgents(look, owner),
  };
}

function unreachablePlan(host: HostConfig, reason: string): HostPlan {
  return {
    host: host.name,
    unreachable: reason,
    pool: {
      name: host.pool.name ?? USUAL_POOL,
      main: host.pool.name ?? USUAL_POOL,
      driver: null,
      mode: "n/a",
      sizeBytes: null,
      freeBytes: null,
      decision: null,
      cowDecision: null,
    },
    launches: [],
    actions: [],
    refusals: [],
    remarks: [],
    containers: [],
    protectedAgents: [],
  };
}

/** True where `up` would change something. */
export function hasActions(plan: Plan): boolean {
  return plan.hosts.some(({ actions }) => actions.length > 0);
}

/** Messages of everything on which `up` fails: refusals of severity `error`, and hosts that do not answer. */
export function planErrors(plan: Plan): string[] {
  return plan.hosts.flatMap(({ host, unreachable, refusals }) => [
    ...(unreachable === null
      ? []
      : [unreachable.startsWith(`Host "${host}"`) ? unreachable : `Host "${host}": ${unreachable}`]),
    ...refusals
      .filter(({ severity }) => severity === "error")
      .map(({ object, reason, remedy }) => `Host "${host}": ${object}: ${reason}. ${remedy}`),
  ]);
}
