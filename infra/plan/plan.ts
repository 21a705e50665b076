import { ownerMark } from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";
import type { HostFacts } from "../facts/facts.ts";
import { planAgents, protectedAgents } from "./agents.ts";
import { planContainers, volumeRemarks } from "./containers.ts";
import { modeOf } from "./effective-pool.ts";
import { Findings } from "./findings.ts";
import { planImages } from "./images.ts";
import { launchRemarks, planLaunches } from "./launches.ts";
import { migrationRows } from "./migration-rows.ts";
import { planParked } from "./parked-removal.ts";
import { poolRows } from "./pool-rows.ts";
import { planPools } from "./pools.ts";
import { preparationActions } from "./preparation.ts";
import { planNetwork, planProfiles } from "./profiles.ts";
import { planProjects } from "./projects.ts";
import { compatibilityRemarks } from "./remarks.ts";
import { planRemovedObjects } from "./removed-objects.ts";
import { containerRows } from "./rows.ts";
import { findPool, type Scene } from "./scene.ts";
import type { HostPlan, Plan } from "./types.ts";
import { USUAL_POOL } from "./wishes.ts";

export type { Action, ContainerRow, HostPlan, MigrationRow, Plan, PoolRow } from "./types.ts";

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

function planHost(host: HostConfig, facts: HostFacts, owner: Scene["owner"]): HostPlan {
  if ("unreachable" in facts) return { ...unseenPlan(host), unreachable: facts.unreachable };
  const preparation = preparationActions(facts.preparation);
  if ("unseen" in facts) {
    const remark = `what else would happen shows once it is prepared: ${facts.unseen}`;
    return { ...unseenPlan(host), actions: preparation, remarks: [remark] };
  }
  const { look } = facts;
  const findings = new Findings();
  const scene: Scene = { host, look, owner, findings };
  const pools = planPools(scene);
  const { name, main, cow, effective } = pools;
  const projects = planProjects(scene);
  const added = planNetwork(scene, pools);
  const images = planImages(scene, effective, projects);
  const containers = planContainers(scene, effective, projects);
  const repointed = planProfiles(scene, pools, containers);
  planAgents(scene, { effective, images, projects, isNetworkAdded: added.includes("eth0") });
  planParked(scene);
  planRemovedObjects(scene, pools.wanted, repointed);
  const launches = planLaunches(scene, effective, { added, repointed });
  return {
    host: host.name,
    unreachable: null,
    pool: {
      name: effective?.name ?? name,
      main: name,
      driver: effective?.driver ?? findPool(look, name)?.driver ?? null,
      mode: modeOf(effective, look, name),
      sizeBytes: effective?.sizeBytes ?? null,
      freeBytes: effective?.freeBytes ?? null,
      decision: main,
      cowDecision: cow,
    },
    storage: poolRows(look),
    migrations: migrationRows(look),
    launches,
    actions: [...preparation, ...findings.actions],
    refusals: findings.refusals,
    remarks: [
      ...findings.remarks,
      ...(cow === null ? launchRemarks(launches, effective) : []),
      ...volumeRemarks(look, containers),
      ...compatibilityRemarks(host, look, effective),
    ],
    containers: containerRows(scene, effective),
    protectedAgents: protectedAgents(scene),
  };
}

/** Of a host of which nothing is known. */
function unseenPlan({ name: host, pool }: HostConfig): HostPlan {
  const { name = USUAL_POOL } = pool;
  const unknown = { driver: null, sizeBytes: null, freeBytes: null, decision: null, cowDecision: null };
  const nothing = {
    storage: [],
    migrations: [],
    launches: [],
    actions: [],
    refusals: [],
    remarks: [],
    containers: [],
    protectedAgents: [],
  };
  return { host, unreachable: null, pool: { name, main: name, mode: "n/a", ...unknown }, ...nothing };
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
