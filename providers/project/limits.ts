import { z } from "zod";
import { formatBytes, parseBytes } from "../common/bytes.ts";
import type { Problem } from "../common/problem.ts";
import type { IncusClient } from "../incus/client.ts";
import { api } from "../incus/paths.ts";
import type { Project } from "../incus/schemas.ts";

/** What a project allows of that which a migration has to write. Sizes in bytes. */
export interface ProjectRules {
  /**
   * True where Incus refuses `volatile.uuid` and its like: a project that is restricted or has any limit, without
   * `restricted.containers.lowlevel=allow` (project/permissions.go, checkRestrictions runs for both).
   */
  forbidsLowLevel: boolean;
  /** True where it refuses raw.* keys: a restricted project without that permission. Limits alone let them pass. */
  forbidsRaw?: boolean;
  /** What is limited, by Incus' name of it (`containers`, `instances`, `memory`, `cpu`, `processes`, `disk`). */
  limits: Record<string, { limit: number; usage: number }>;
}

/** What an instance counts against the limits of its project: expanded `limits.*` and the root disk's size. */
export interface CountedLimits {
  memory?: string | undefined;
  cpu?: string | undefined;
  processes?: string | undefined;
  /** Bytes. */
  disk?: number | null | undefined;
}

/** The limits of an instance that its project counts, by its expanded config. */
export function countedLimits(
  config: Record<string, string>,
): Pick<CountedLimits, "memory" | "cpu" | "processes"> {
  return {
    memory: config["limits.memory"],
    cpu: config["limits.cpu"],
    processes: config["limits.processes"],
  };
}

const ProjectState = z.object({
  resources: z.record(z.string(), z.object({ Limit: z.number(), Usage: z.number() })),
});

/** The rules that a project's own config makes, without its usage. */
function projectRulesOf(config: Record<string, string>): ProjectRules {
  const isRestricted = config["restricted"] === "true";
  const rules = isRestricted || Object.keys(config).some((key) => key.startsWith("limits."));
  const allowed = config["restricted.containers.lowlevel"] === "allow";
  return { forbidsLowLevel: rules && !allowed, forbidsRaw: isRestricted && !allowed, limits: {} };
}

/** The rules of a project with its usage: one request where it has limits, none where it has not. */
export async function withUsage(client: IncusClient, project: Project): Promise<ProjectRules> {
  const rules = projectRulesOf(project.config);
  if (!Object.keys(project.config).some((key) => key.startsWith("limits."))) return rules;
  const { resources } = await client.get(api("projects", project.name, "state"), ProjectState);
  for (const [name, { Limit: limit, Usage: usage }] of Object.entries(resources))
    if (limit >= 0) rules.limits[name] = { limit, usage };
  return rules;
}

/** The first limit that does not hold one container more, with all figures. */
function exceeded(
  limits: ProjectRules["limits"],
  { memory = "", cpu, processes, disk }: CountedLimits,
): { name: string; text: string } | undefined {
  const adds: Record<string, number> = {
    containers: 1,
    instances: 1,
    memory: parseBytes(memory) ?? 0,
    cpu: Number(cpu ?? 0) || 0,
    processes: Number(processes ?? 0) || 0,
    disk: disk ?? 0,
  };
  for (const [name, { limit, usage }] of Object.entries(limits)) {
    const more = adds[name] ?? 0;
    if (more === 0 || usage + more <= limit) continue;
    const shown = (value: number): string =>
      name === "memory" || name === "disk" ? formatBytes(value) : String(value);
    return {
      name,
      text: `limits.${name} is ${shown(limit)}, ${shown(usage)} are in use, ${shown(more)} more are needed`,
    };
  }
  return undefined;
}

/**
 * Why a project does not let a container of it be migrated, with the way out: its swap writes `volatile.uuid`, and for
 * a while, and after it until the parked source is deleted, there are two of it. Pure, so that preview and migration
 * say the same.
 */
export function migrationRefusal(
  project: string,
  rules: ProjectRules | undefined,
  container: CountedLimits,
): Problem | undefined {
  if (!rules) return undefined;
  if (rules.forbidsLowLevel) {
    return {
      reason: `its project ${project} is restricted or has limits, and so forbids volatile.uuid, which the copy takes over from it`,
      remedy: `Allow it: incus project set ${project} restricted.containers.lowlevel=allow (limits and other restrictions stay as they are), then run again.`,
    };
  }
  const full = exceeded(rules.limits, container);
  return (
    full && {
      reason: `its copy does not fit beside it into project ${project}: ${full.text}`,
      remedy: `Raise it for the time until its parked source is deleted (incus project set ${project} limits.${full.name}=…), then run again.`,
    }
  );
}

/** Limits that every instance of a project must have itself where the project has them, and the agent's key for each. */
const COUNTED = [
  ["memory", "memory"],
  ["cpu", "cpu"],
  ["processes", "config.limits.processes"],
  ["disk", "disk"],
] as const;

/**
 * Why a project does not let a container be made in it, with the way out. Pure.
 * @param container what it counts; a limit that it lacks is undefined
 * @param hasRawConfig it has raw.* keys, such as raw.idmap
 */
export function creationRefusal(
  project: string,
  rules: Partial<ProjectRules> | undefined,
  container: CountedLimits,
  hasRawConfig: boolean,
): Problem | undefined {
  if (rules?.forbidsRaw && hasRawConfig) {
    return {
      reason: `its project ${project} is restricted, and so forbids raw.* keys (idmapUid is one)`,
      remedy: `Allow them: incus project set ${project} restricted.containers.lowlevel=allow; or leave them out.`,
    };
  }
  const limits = rules?.limits ?? {};
  for (const [name, key] of COUNTED) {
    if (limits[name] === undefined || container[name] != null) continue;
    return {
      reason: `its project ${project} limits ${name}, and so takes no container without a limit of its own`,
      remedy: `Set ${key} of the agent.`,
    };
  }
  const full = exceeded(limits, container);
  return (
    full && {
      reason: `it does not fit into project ${project}: ${full.text}`,
      remedy: `Raise it (incus project set ${project} limits.${full.name}=…), or make room there.`,
    }
  );
}
