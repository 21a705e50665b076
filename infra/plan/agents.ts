import {
  IMAGE_KEY,
  type InstanceLook,
  isCopyOnWrite,
  mountsRefusal,
  OWNER_KEY,
  PROTECTED_KEY,
  type Problem,
  parseBytes,
  quotaRefusal,
  STAGE_KEY,
} from "@taos-hosts/providers";
import type { AgentConfig } from "../config/config.ts";
import { agentProblem } from "./agent-problems.ts";
import type { EffectivePool } from "./effective-pool.ts";
import { containerOf } from "./findings.ts";
import { findInstance, findPool, interruptedOf, parkedOf, type Scene } from "./scene.ts";
import { WAITS_FOR_POOL } from "./words.ts";

/** What the rest of the plan says of that which agents need. */
export interface AgentWaits {
  effective: EffectivePool | undefined;
  images: ReadonlySet<string>;
  projects: ReadonlySet<string>;
  /** The default profile gets a network interface. */
  isNetworkAdded: boolean;
}

/** Agents: made, left, changed in place, or made anew; and what this stack made and the config no longer names. */
export function planAgents(scene: Scene, waits: AgentWaits): void {
  for (const [name, agent] of Object.entries(scene.host.agents)) planAgent(scene, name, agent, waits);
  for (const instance of scene.look.instances) planRemoved(scene, instance);
}

/** Names of protected containers on the host that this stack made. */
export function protectedAgents({ look, owner }: Scene): string[] {
  return look.instances
    .filter((one) => isOurs(one, owner) && parkedOf(one) === null && !isUnprotected(one))
    .map(({ name }) => name);
}

function isOurs({ name, config }: InstanceLook, owner: Scene["owner"]): boolean {
  return config[OWNER_KEY] === owner(name);
}

function isUnprotected({ config }: InstanceLook): boolean {
  return config[PROTECTED_KEY] === "false";
}

function planAgent(scene: Scene, name: string, agent: AgentConfig, waits: AgentWaits): void {
  const { look, owner, findings } = scene;
  const subject = containerOf({ project: agent.project, name });
  const there = findInstance(look, agent.project, name);
  if (there && !isOurs(there, owner)) {
    findings.refuse(subject, notMade(there, name));
    return;
  }
  // In the middle of a swap nobody has the name, and nothing is to be made.
  if (!there && interruptedOf(look, agent.project, name)) return;
  const live = there ?? look.instances.find((one) => one.name === name && isOurs(one, owner));
  const { effective } = waits;
  const problem = agentProblem(agent, look, live === undefined, waits.isNetworkAdded);
  if (waits.projects.has(agent.project)) {
    const remedy = `See what is said of project ${agent.project}.`;
    findings.hold(subject, { reason: "it waits for its project", remedy });
  } else if (problem) findings.refuse(subject, problem);
  else if (live && live.config[STAGE_KEY] === undefined) planChange(scene, agent, live, effective);
  else if (!effective) findings.hold(subject, WAITS_FOR_POOL);
  else if (!live && waits.images.has(agent.image)) {
    const remedy = `See what is said of image ${agent.image}.`;
    findings.hold(subject, { reason: "it waits for its image", remedy });
  } else {
    const reason = live
      ? "was not finished and is completed"
      : `made from image ${agent.image} on pool ${effective.name}`;
    findings.act("create-agent", subject, reason, { pool: effective.name, detail: agent.image });
  }
}

/** What the mark on an instance of an agent's name says: of nobody, or of a stack or host that had another name. */
function notMade(there: InstanceLook, name: string): Problem {
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

/** An agent that is there and finished. */
function planChange(
  scene: Scene,
  agent: AgentConfig,
  live: InstanceLook,
  effective: EffectivePool | undefined,
): void {
  const { host, findings } = scene;
  const { name } = live;
  const wanted = containerOf({ project: agent.project, name });
  const subject = containerOf(live);
  const tooSmall = quotaProblem(scene, agent, live);
  if (tooSmall) {
    findings.refuse(wanted, tooSmall);
    return;
  }
  const change = replacementReason(live, agent);
  const isDeletable = !agent.protected && isUnprotected(live);
  const mayReplace = isDeletable || host.optIn.replace.includes(name);
  if (live.changes && (change === undefined || !mayReplace))
    findings.act("update-agent", subject, `changed in place: ${live.changes.join("; ")}`);
  if (change === undefined) return;
  if (isDeletable && live.mounts) findings.refuse(wanted, mountsRefusal(live.mounts));
  else if (mayReplace) {
    const kept = isDeletable ? "the old one is deleted (protected: false)" : "the old one is kept, parked";
    const more = { pool: effective?.name, detail: agent.image };
    findings.act("replace-agent", subject, `${change}; ${kept}`, more);
  } else {
    findings.hold(subject, {
      reason: `${change}, which takes a new container; it is protected`,
      remedy: `Name ${name} under optIn.replace to make it anew (the old one is parked), or undo the change.`,
    });
  }
}

/** Only pools that enforce sizes are looked at. */
function quotaProblem(
  { look }: Scene,
  { disk }: AgentConfig,
  { root, bytes }: InstanceLook,
): Problem | undefined {
  const pool = findPool(look, root?.pool);
  if (!root || !pool || !isCopyOnWrite(pool.driver) || disk === undefined) return undefined;
  return quotaRefusal(parseBytes(disk) ?? null, root.sizeBytes, bytes);
}

function replacementReason(live: InstanceLook, agent: AgentConfig): string | undefined {
  const image = live.config[IMAGE_KEY];
  if (image !== undefined && image !== agent.image) return `image changes from ${image} to ${agent.image}`;
  if (live.project !== agent.project) return `project changes from ${live.project} to ${agent.project}`;
  return undefined;
}

function planRemoved({ host, owner, findings }: Scene, instance: InstanceLook): void {
  const { name, project, mounts } = instance;
  if (!isOurs(instance, owner) || parkedOf(instance) !== null || host.agents[name]) return;
  const subject = containerOf(instance);
  if (host.containers[name]?.project === project) {
    findings.refuse(subject, {
      reason: "this stack made it as an agent, and taking it out of agents would delete it",
      remedy: "Put it back under agents and take it out of containers.",
    });
  } else if (!isUnprotected(instance)) {
    findings.refuse(subject, {
      reason: "this stack made it, it is protected, and the config no longer names it",
      remedy: `Put it back under agents. To delete it: set protected: false on it, run up, then take it out.`,
    });
  } else if (mounts) findings.refuse(subject, mountsRefusal(mounts));
  else findings.act("delete-agent", subject, "no longer in the config, protected: false");
}
