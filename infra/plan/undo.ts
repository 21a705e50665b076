import {
  formatBytes,
  type HostLook,
  type InstanceLook,
  isSuccessor,
  keptSourceOf,
  migrationMarkOf,
  type Problem,
  startProblem,
  undoneName,
  WORKER_POOL,
} from "@taos-hosts/providers";
import { containerOf } from "./findings.ts";
import { findInstance, type Present, type Scene } from "./scene.ts";

/** Plans that a container goes back to the kept source of its migration, or says why not. */
export function planUndo({ look, findings }: Scene, { name, instance, interrupted }: Present): void {
  const subject = containerOf({ project: instance.project, name });
  const kept = keptSourceOf(look.instances, instance.project, name);
  if (!kept && !interrupted) return;
  const isUnderWay = kept !== undefined && migrationMarkOf(kept.instance) === name;
  const problem = !kept || isUnderWay ? undefined : undoProblem(look, instance, kept.instance);
  if (problem) findings.refuse(subject, problem);
  else {
    const reason =
      interrupted || !kept ? "what was begun is finished or taken back" : sentenceOf(instance, kept);
    findings.act("undo-migration", subject, reason, { pool: kept?.instance.root?.pool });
  }
}

/** The name under which what was written since the migration is kept. */
function asideName({ name, config }: InstanceLook): string {
  return undoneName(name, config["volatile.uuid"] ?? "");
}

function sentenceOf(instance: InstanceLook, kept: { instance: InstanceLook; since: string }): string {
  const { files = null, bytes = null } = instance.writtenSince ?? {};
  const amount =
    files === null || bytes === null
      ? "how much is not known"
      : `${files} file${files === 1 ? "" : "s"}, ${formatBytes(bytes)}`;
  return `goes back to its source of ${kept.since}, kept as ${kept.instance.name} on pool ${kept.instance.root?.pool ?? ""}; what was written since (${amount}) is kept as ${asideName(instance)}`;
}

function undoProblem(look: HostLook, instance: InstanceLook, kept: InstanceLook): Problem | undefined {
  if (!/^[0-9a-f-]{36}$/.test(instance.config["volatile.uuid"] ?? "")) {
    return { reason: "it has no volatile.uuid", remedy: "Start it once with this Incus, then run again." };
  }
  if (kept.root?.pool === WORKER_POOL) {
    return {
      reason: `its kept source is on pool ${WORKER_POOL}, which belongs to the taOS worker and is never touched`,
      remedy: "Take it out of optIn.undo.",
    };
  }
  if (!isSuccessor(instance, kept)) {
    return {
      reason: `it is not the instance that took over from ${kept.name} (its volatile.uuid differs)`,
      remedy: `Give it another name, and: incus rename ${kept.name} ${instance.name}`,
    };
  }
  if (!look.filesReadable) {
    return {
      reason: "the host's files cannot be read over this connection",
      remedy:
        "Use connection: unix as root on the host, or ssh:// with a login that is root or may use sudo -n.",
    };
  }
  const conflict = startProblem(look, instance);
  if (conflict) return conflict;
  if (kept.status !== "Stopped")
    return { reason: `its kept source ${kept.name} runs`, remedy: "Stop it (incus stop), then run again." };
  if (instance.status !== "Running" && instance.status !== "Stopped") {
    return {
      reason: `it is neither running nor stopped but ${instance.status}`,
      remedy: "Start or stop it, then run again.",
    };
  }
  const aside = asideName(instance);
  if (!findInstance(look, instance.project, aside)) return undefined;
  return {
    reason: `the name ${aside} for what was written since is taken by an earlier undo`,
    remedy: "Name it under optIn.removeParked (and not under undo) for one run, or rename that instance.",
  };
}
