import type { Scene } from "./scene.ts";
import { nearest } from "./words.ts";

/** Projects that the config names and the host does not have: what is in them waits, and says nothing of its own. */
export function planProjects({ host, look, findings }: Scene): Set<string> {
  const entries = [...Object.values(host.containers), ...Object.values(host.agents)];
  const named = new Set([host.project, ...entries.map(({ project }) => project)]);
  const names = look.projects.map(({ name }) => name);
  const missing = new Set([...named].filter((project) => !names.includes(project)));
  for (const project of missing) {
    findings.refuse(
      { object: `project ${project}` },
      {
        reason: "it is not on the host",
        remedy: `${nearest("On the host", project, names)}Correct project in the config, or make it there (incus project create ${project}).`,
      },
    );
  }
  return missing;
}
