import { rootPool } from "../incus/root-device.ts";
import type { Observation } from "./observation.ts";

/**
 * What state a container is in after its migration was not brought to an end: the first line of the error. Where it is
 * down, with the commands that start it; the next run goes on from what they leave.
 */
export function standingLine(seen: Observation, ref: { project: string; name: string }): string {
  const { named, source, copy } = seen;
  const { name } = ref;
  const flag = ref.project === "default" ? "" : ` --project ${ref.project}`;
  const start = `incus start ${name}${flag}`;
  const original = source?.instance.name ?? "";
  if (named && named.status === "Running" && (source || copy || !seen.past))
    return `"${name}" runs, on pool "${rootPool(named)}".`;
  if (!named && source && !source.running) {
    const wanted = source.journal.wasRunning ? ` && ${start}` : "";
    return `"${name}" is DOWN: the original is the stopped instance "${original}". Run again; or by hand: incus rename ${original} ${name}${flag}${wanted}`;
  }
  if (!named) return `There is no instance "${name}" now.`;
  const isSource = source?.instance.name === name;
  const isCopy = copy?.instance.name === name;
  if (source && !isSource && !isCopy)
    return `Another instance has the name "${name}"; the original is "${original}".`;
  if (source && isCopy && copy.journal.phase !== "dressed" && copy.journal.phase !== "healthy") {
    const aside = `incus rename ${name} ${source.journal.copy}${flag}`;
    return `"${name}" is DOWN: a copy without its settings has the name. Run again; or by hand: ${aside} && incus rename ${original} ${name}${flag} && ${start}`;
  }
  const ran = source?.journal.wasRunning ?? copy?.journal.wasRunning ?? false;
  if (named.status === "Stopped" && ran) return `"${name}" is DOWN. Start it with: ${start}`;
  return `"${name}" is ${named.status.toLowerCase()}, on pool "${rootPool(named)}", as it was before.`;
}
