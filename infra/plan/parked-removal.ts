import {
  type HostLook,
  type InstanceLook,
  isSuccessor,
  mountsRefusal,
  qualifiedName,
} from "@taos-hosts/providers";
import type { HostConfig } from "../config.ts";
import { findInstance, interruptedOf } from "./lookup.ts";
import { parkedOf } from "./parked.ts";
import { type Findings, noFindings, type Refusal } from "./types.ts";

/** Parked copies that `optIn.removeParked` names; each is deleted only while what it was the source of is there. */
export function planParked(host: HostConfig, look: HostLook): Findings {
  const findings = noFindings();
  for (const name of host.optIn.removeParked) {
    const project = host.containers[name]?.project ?? host.agents[name]?.project ?? host.project;
    for (const instance of look.instances) {
      if (instance.project !== project || parkedOf(instance) !== name) continue;
      const container = qualifiedName(instance);
      const object = `container ${container}`;
      const problem = removalProblem(look, project, name, instance);
      if (problem) findings.refusals.push({ object, container, ...problem });
      else {
        const reason = `parked copy of ${name}, named under optIn.removeParked`;
        findings.actions.push({ kind: "remove-parked", object, container, reason });
      }
    }
  }
  return findings;
}

function removalProblem(
  look: HostLook,
  project: string,
  name: string,
  parked: InstanceLook,
): Pick<Refusal, "severity" | "reason" | "remedy"> | undefined {
  if (interruptedOf(look, project, name)) {
    const remedy = `It ends with this run; the parked copy can go with the next one.`;
    return { severity: "held", reason: `the migration of ${name} has not ended`, remedy };
  }
  const named = findInstance(look, project, name);
  if (!named) {
    return {
      severity: "error",
      reason: `there is no container ${name}, so this is the only copy`,
      remedy: `Rename it back (incus rename), or take ${name} out of optIn.removeParked.`,
    };
  }
  if (!isSuccessor(named, parked)) {
    return {
      severity: "error",
      reason: `the container ${name} is not the one that took over from it (its volatile.uuid differs), so this may be the only copy`,
      remedy: `Take ${name} out of optIn.removeParked. If it is no longer needed: incus delete ${parked.name}`,
    };
  }
  if (parked.mounts) return { severity: "error", ...mountsRefusal(parked.mounts) };
  if (parked.status !== "Stopped") {
    return {
      severity: "error",
      reason: "it runs",
      remedy: "Stop it first if it is really no longer needed.",
    };
  }
  return undefined;
}
