import { type HostLook, nearestNames } from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";
import { type Findings, noFindings } from "./types.ts";

/** Projects that the config names and the host does not have: what is in them waits, and says nothing of its own. */
export function planProjects(host: HostConfig, look: HostLook): Findings & { missing: Set<string> } {
  const named = new Set([
    host.project,
    ...Object.values(host.containers).map(({ project }) => project),
    ...Object.values(host.agents).map(({ project }) => project),
  ]);
  const names = look.projects.map(({ name }) => name);
  const missing = new Set([...named].filter((project) => !names.includes(project)));
  const refusals = [...missing].map((project) => {
    const near = nearestNames(project, names);
    return {
      severity: "error" as const,
      object: `project ${project}`,
      reason: "it is not on the host",
      remedy: `${near.length > 0 ? `On the host: ${near.join(", ")}. ` : ""}Correct project in the config, or make it there (incus project create ${project}).`,
    };
  });
  return { ...noFindings(), refusals, missing };
}

/** The project whose profiles containers of a project have. */
export function profileProject(look: HostLook, project: string): string {
  return look.projects.some((one) => one.name === project && one.ownProfiles) ? project : "default";
}
