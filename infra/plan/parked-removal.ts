import {
  type HostLook,
  type InstanceLook,
  isSuccessor,
  mountsRefusal,
  qualifiedName,
} from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";
import { findInstance, interruptedOf } from "./lookup.ts";
import { parkedOf } from "./parked.ts";
import { type Action, type Findings, noFindings, type Refusal } from "./types.ts";

/** Actions that park what they take the place of. */
const PARKING: readonly Action["kind"][] = ["migrate", "replace-agent"];

/**
 * Parked copies that `optIn.removeParked` names; each is deleted only while what it was the source of is there, and by
 * no run that has parked it itself.
 * @param planned what the rest of the plan does
 */
export function planParked(host: HostConfig, look: HostLook, planned: readonly Action[]): Findings {
  const findings = noFindings();
  const parking = planned.filter(({ kind }) => PARKING.includes(kind)).map(({ container }) => container);
  for (const name of host.optIn.removeParked) {
    const project = host.containers[name]?.project ?? host.agents[name]?.project ?? host.project;
    const parked = qualifiedName({ project, name });
    const isThere = look.instances.some((one) => one.project === project && parkedOf(one) === name);
    if (parking.includes(parked) && !isThere) {
      findings.refusals.push({
        severity: "held",
        object: `parked copy of ${parked}`,
        reason: "it is made by this very run",
        remedy: NEXT_RUN,
      });
    }
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

const NEXT_RUN = "It goes with the next run.";

function removalProblem(
  look: HostLook,
  project: string,
  name: string,
  parked: InstanceLook,
): Pick<Refusal, "severity" | "reason" | "remedy"> | undefined {
  if (interruptedOf(look, project, name)) {
    return { severity: "held", reason: `the migration of ${name} has not ended`, remedy: NEXT_RUN };
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
