import {
  type HostLook,
  IMAGE_KEY,
  type InstanceLook,
  isCopyOnWrite,
  mountsRefusal,
  OWNER_KEY,
  PROTECTED_KEY,
  parseBytes,
  qualifiedName,
  quotaRefusal,
  STAGE_KEY,
} from "@taos-hosts/providers";
import type { AgentConfig, HostConfig } from "../config/config.ts";
import { agentProblem } from "./agent-problems.ts";
import { findInstance, interruptedOf } from "./lookup.ts";
import { parkedOf } from "./parked.ts";
import type { EffectivePool } from "./pools.ts";
import { type Findings, noFindings } from "./types.ts";

/** Ownership mark of an agent of this stack, by its name. */
export type OwnerOf = (name: string) => string;

/** Agents: made, left, changed in place, or made anew. */
export function planAgents(
  host: HostConfig,
  look: HostLook,
  effective: EffectivePool | undefined,
  owner: OwnerOf,
  waits: AgentWaits,
): Findings {
  const findings = noFindings();
  for (const [name, agent] of Object.entries(host.agents))
    planAgent(findings, host, { look, name, agent, effective, owner, waits });
  for (const instance of look.instances) planRemoved(findings, host, instance, owner);
  return findings;
}

/** Names of protected containers on the host that this stack made. */
export function protectedAgents(look: HostLook, owner: OwnerOf): string[] {
  return look.instances
    .filter((one) => isOurs(one, owner) && parkedOf(one) === null && one.config[PROTECTED_KEY] !== "false")
    .map(({ name }) => name);
}

/** What the rest of the plan says of that which agents need. */
export interface AgentWaits {
  images: ReadonlySet<string>;
  projects: ReadonlySet<string>;
  /** The default profile gets a network interface. */
  networkAdded: boolean;
}

/** What the mark on an instance of an agent's name says: of nobody, or of a stack or host that had another name. */
function notMade(there: InstanceLook, name: string): { reason: string; remedy: string } {
  const [project = "", stack = "", host = "", marked] = (there.config[OWNER_KEY] ?? "").split("/");
  if (marked !== name) {
    return {
      reason: "it exists already and was not made by this stack",
      remedy: "List it under containers to leave it as it is, or give the agent another name.",
    };
  }
  return {
    reason: `it was made by stack ${stack} of project ${project}, on a host that is called ${host} there`,
    remedy:
      "Where stack, project or host had that name before: npm run rename (see --help). Else list it under containers, or give the agent another name.",
  };
}

interface AgentFacts {
  look: HostLook;
  name: string;
  agent: AgentConfig;
  effective: EffectivePool | undefined;
  owner: OwnerOf;
  waits: AgentWaits;
}

function isOurs(instance: InstanceLook, owner: OwnerOf): boolean {
  return instance.config[OWNER_KEY] === owner(instance.name);
}

function planAgent(
  findings: Findings,
  host: HostConfig,
  { look, name, agent, effective, owner, waits }: AgentFacts,
): void {
  const container = qualifiedName({ project: agent.project, name });
  const object = `container ${container}`;
  const there = findInstance(look, agent.project, name);
  const elsewhere = look.instances.find(
    (one) => one.name === name && one.project !== agent.project && isOurs(one, owner),
  );
  if (there && !isOurs(there, owner)) {
    findings.refusals.push({
      severity: "error",
      object,
      container,
      ...notMade(there, name),
    });
    return;
  }
  // In the middle of a swap nobody has the name, and nothing is to be made.
  if (!there && interruptedOf(look, agent.project, name)) return;
  const live = there ?? elsewhere;
  if (waits.projects.has(agent.project)) {
    const remedy = `See what is said of project ${agent.project}.`;
    findings.refusals.push({
      severity: "held",
      object,
      container,
      reason: "it waits for its project",
      remedy,
    });
    return;
  }
  const problem = agentProblem(agent, look, live === undefined, { network: waits.networkAdded });
  if (problem) {
    findings.refusals.push({ severity: "error", object, container, ...problem });
    return;
  }
  if (!live || live.config[STAGE_KEY] !== undefined) {
    if (!effective) {
      findings.refusals.push({
        severity: "held",
        object,
        container,
        reason: "it waits for the pool",
        remedy: "See what is said of the pool.",
      });
      return;
    }
    if (!live && waits.images.has(agent.image)) {
      const remedy = `See what is said of image ${agent.image}.`;
      findings.refusals.push({
        severity: "held",
        object,
        container,
        reason: "it waits for its image",
        remedy,
      });
      return;
    }
    const reason = live
      ? "was not finished and is completed"
      : `made from image ${agent.image} on pool ${effective.name}`;
    findings.actions.push({
      kind: "create-agent",
      object,
      container,
      pool: effective.name,
      detail: agent.image,
      reason,
    });
    return;
  }
  const tooSmall = quotaProblem(live, look, agent);
  if (tooSmall) {
    findings.refusals.push({ severity: "error", object, container, ...tooSmall });
    return;
  }
  const change = replacementReason(live, agent);
  const unprotected = !agent.protected && live.config[PROTECTED_KEY] === "false";
  const mayReplace = unprotected || host.optIn.replace.includes(name);
  if (live.changes && (change === undefined || !mayReplace)) {
    findings.actions.push({
      kind: "update-agent",
      object: `container ${qualifiedName(live)}`,
      container: qualifiedName(live),
      reason: `changed in place: ${live.changes.join("; ")}`,
    });
  }
  if (change === undefined) return;
  if (unprotected && live.mounts) {
    const refusal = { severity: "error", object, container, ...mountsRefusal(live.mounts) } as const;
    findings.refusals.push(refusal);
    return;
  }
  if (mayReplace) {
    const kept = unprotected ? "the old one is deleted (protected: false)" : "the old one is kept, parked";
    findings.actions.push({
      kind: "replace-agent",
      object: `container ${qualifiedName(live)}`,
      container: qualifiedName(live),
      ...(effective ? { pool: effective.name } : {}),
      detail: agent.image,
      reason: `${change}; ${kept}`,
    });
    return;
  }
  findings.refusals.push({
    severity: "held",
    object: `container ${qualifiedName(live)}`,
    container: qualifiedName(live),
    reason: `${change}, which takes a new container; it is protected`,
    remedy: `Name ${name} under optIn.replace to make it anew (the old one is parked), or undo the change.`,
  });
}

/** Only pools that enforce sizes are looked at. */
function quotaProblem(
  { root, bytes }: InstanceLook,
  look: HostLook,
  { disk }: AgentConfig,
): ReturnType<typeof quotaRefusal> {
  const pool = look.pools.find(({ name }) => name === root?.pool);
  if (!root || !pool || !isCopyOnWrite(pool.driver) || disk === undefined) return undefined;
  return quotaRefusal(parseBytes(disk) ?? null, root.sizeBytes, bytes);
}

function replacementReason(live: InstanceLook, agent: AgentConfig): string | undefined {
  const image = live.config[IMAGE_KEY];
  if (image !== undefined && image !== agent.image) return `image changes from ${image} to ${agent.image}`;
  if (live.project !== agent.project) return `project changes from ${live.project} to ${agent.project}`;
  return undefined;
}

/** What this stack made and the config no longer names. */
function planRemoved(findings: Findings, host: HostConfig, instance: InstanceLook, owner: OwnerOf): void {
  if (!isOurs(instance, owner) || parkedOf(instance) !== null) return;
  if (host.agents[instance.name]) return;
  const container = qualifiedName(instance);
  const object = `container ${container}`;
  if (host.containers[instance.name]?.project === instance.project) {
    findings.refusals.push({
      severity: "error",
      object,
      container,
      reason: "this stack made it as an agent, and taking it out of agents would delete it",
      remedy: "Put it back under agents and take it out of containers.",
    });
    return;
  }
  if (instance.config[PROTECTED_KEY] === "false" && instance.mounts) {
    findings.refusals.push({ severity: "error", object, container, ...mountsRefusal(instance.mounts) });
    return;
  }
  if (instance.config[PROTECTED_KEY] === "false") {
    findings.actions.push({
      kind: "delete-agent",
      object,
      container,
      reason: "no longer in the config, protected: false",
    });
    return;
  }
  findings.refusals.push({
    severity: "error",
    object,
    container,
    reason: "this stack made it, it is protected, and the config no longer names it",
    remedy: `Put it back under agents. To delete it: set protected: false on it, run up, then take it out.`,
  });
}
