import {
  type HostLook,
  type InstanceLook,
  isSuccessor,
  mountsRefusal,
  type Problem,
  qualifiedName,
} from "@taos-hosts/providers";
import { containerOf } from "./findings.ts";
import { findInstance, interruptedOf, parkedOf, type Scene } from "./scene.ts";
import type { Action } from "./types.ts";

/** Actions that park what they take the place of. */
const PARKING: readonly Action["kind"][] = ["migrate", "replace-agent"];

const NEXT_RUN = "It goes with the next run.";

/**
 * Parked copies that `optIn.removeParked` names; each is deleted only while what it was the source of is there, and by
 * no run that has parked it itself. The rest of the plan is in the findings by then.
 */
export function planParked({ host, look, findings }: Scene): void {
  const parking = findings.actions.filter(({ kind }) => PARKING.includes(kind)).map((one) => one.container);
  for (const name of host.optIn.removeParked) {
    const { project } = host.containers[name] ?? host.agents[name] ?? host;
    const copies = look.instances.filter((one) => one.project === project && parkedOf(one) === name);
    const container = qualifiedName({ project, name });
    if (parking.includes(container) && copies.length === 0) {
      const object = `parked copy of ${container}`;
      findings.hold({ object }, { reason: "it is made by this very run", remedy: NEXT_RUN });
    }
    for (const copy of copies) {
      const subject = containerOf(copy);
      const problem = removalProblem(look, project, name, copy);
      if (interruptedOf(look, project, name))
        findings.hold(subject, { reason: `the migration of ${name} has not ended`, remedy: NEXT_RUN });
      else if (problem) findings.refuse(subject, problem);
      else findings.act("remove-parked", subject, `parked copy of ${name}, named under optIn.removeParked`);
    }
  }
}

function removalProblem(
  look: HostLook,
  project: string,
  name: string,
  parked: InstanceLook,
): Problem | undefined {
  const named = findInstance(look, project, name);
  if (!named) {
    return {
      reason: `there is no container ${name}, so this is the only copy`,
      remedy: `Rename it back (incus rename), or take ${name} out of optIn.removeParked.`,
    };
  }
  if (!isSuccessor(named, parked)) {
    return {
      reason: `the container ${name} is not the one that took over from it (its volatile.uuid differs), so this may be the only copy`,
      remedy: `Take ${name} out of optIn.removeParked. If it is no longer needed: incus delete ${parked.name}`,
    };
  }
  if (parked.mounts) return mountsRefusal(parked.mounts);
  if (parked.status !== "Stopped")
    return { reason: "it runs", remedy: "Stop it first if it is really no longer needed." };
  return undefined;
}
