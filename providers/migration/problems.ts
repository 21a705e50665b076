import { formatBytes } from "../common/bytes.ts";
import type { Problem } from "../common/problem.ts";
import { missingSourcesRefusal } from "../host/device-sources.ts";
import { mountsRefusal } from "../host/foreign-mounts.ts";
import type { HostLook } from "../host/look.ts";
import type { InstanceLook } from "../host/look-instance.ts";
import { startRefusal } from "../host/nic-conflicts.ts";
import { parkedMarkOf } from "../marks/identity.ts";
import { copyName, parkedName } from "../marks/made-names.ts";
import { migrationRefusal } from "../project/limits.ts";

/** Where a container is to go. */
export interface MigrationTarget {
  name: string;
  /** Absent where the name is of no pool, neither of the host nor of the plan. */
  driver: string | undefined;
}

/** What is known beside the look. */
export interface MigrationCircumstances {
  target: MigrationTarget;
  /** The parked copy of an earlier migration goes before: its name is free then. */
  removesParked: boolean;
}

/** Drivers whose volumes are directories, so that source and copy can be compared file by file. */
const COMPARABLE = ["btrfs", "dir"];

const UUID = /^[0-9a-f-]{36}$/;

/**
 * Why a container is not migrated: the planner asks before the run, the migration again at its beginning, from a look
 * at the host of that moment. Pure; space and the content of files are the copying's own matter.
 */
export function migrationProblem(
  look: HostLook,
  instance: InstanceLook,
  circumstances: MigrationCircumstances,
): Problem | undefined {
  return (
    kindProblem(instance) ??
    poolProblem(look, instance, circumstances.target) ??
    surroundingsProblem(look, instance) ??
    nameProblem(look, instance, circumstances.removesParked) ??
    contentProblem(instance, circumstances.target)
  );
}

/**
 * Why Incus would not start a container again, once it is stopped: asked wherever something stops one for a while
 * (migration, undo).
 */
export function startProblem(look: HostLook, instance: InstanceLook): Problem | undefined {
  const ownNetworks = look.projects.filter((one) => one.ownNetworks).map(({ name }) => name);
  if (instance.missing && instance.status === "Running")
    return missingSourcesRefusal(instance.name, instance.missing);
  return startRefusal(instance, look.instances, { networks: look.networks, ownNetworks });
}

function problem(reason: string, remedy: string): Problem {
  return { reason, remedy };
}

function kindProblem(instance: InstanceLook): Problem | undefined {
  if (parkedMarkOf(instance))
    return problem("it is the parked copy of another container", "Take it out of optIn.migrate.");
  if (instance.type !== "container")
    return problem("it is a virtual machine", "Only containers are migrated: take it out of optIn.migrate.");
  if (instance.ephemeral)
    return problem(
      "it is ephemeral: stopping it deletes it",
      "Make it permanent (incus config edit), then run again.",
    );
  if (instance.stateful)
    return problem(
      "its stopped state holds process state, which cannot be moved",
      "Start it, then run again.",
    );
  if (instance.status !== "Running" && instance.status !== "Stopped")
    return problem(
      `it is neither running nor stopped but ${instance.status}`,
      "Start or stop it, then run again.",
    );
  if (!UUID.test(instance.config["volatile.uuid"] ?? ""))
    return problem("it has no volatile.uuid", "Start it once with this Incus, then run again.");
  return undefined;
}

function poolProblem(look: HostLook, { root }: InstanceLook, target: MigrationTarget): Problem | undefined {
  if (!root) return problem("it has no root disk", "Give it one (incus config device add), then run again.");
  if (root.pool === target.name)
    return problem(`it is on pool "${target.name}" already`, "Take it out of optIn.migrate.");
  if (target.driver === undefined)
    return problem(
      `pool "${target.name}" does not exist`,
      "Name a pool of the host under pool, or leave it out.",
    );
  const source = look.pools.find(({ name }) => name === root.pool);
  const other = [target.driver, source?.driver ?? ""].find((driver) => !COMPARABLE.includes(driver));
  if (other !== undefined)
    return problem(
      `driver ${other} keeps volumes whose files cannot be compared one by one`,
      "Only moves between dir and btrfs pools are verified, so only they are made: take it out of optIn.migrate.",
    );
  const away = [source, look.pools.find(({ name }) => name === target.name)].find(
    (pool) => pool && pool.status !== "Created" && pool.status !== "",
  );
  if (away)
    return problem(
      `pool "${away.name}" is not available (${away.status})`,
      'See "incus warning list" on the host; once it is back, run again.',
    );
  return undefined;
}

function surroundingsProblem(look: HostLook, instance: InstanceLook): Problem | undefined {
  if (!look.filesReadable)
    return problem(
      "the host's files cannot be read over this connection, and Incus' own copy breaks hardlinks",
      "Use connection: unix as root on the host, or ssh:// with a login that is root or may use sudo -n.",
    );
  const project = look.projects.find((one) => one.name === instance.project);
  const rules = { forbidsLowLevel: project?.forbidsLowLevel ?? false, limits: project?.limits ?? {} };
  const counted = { ...instance.limits, disk: instance.root?.sizeBytes };
  return (
    migrationRefusal(instance.project, rules, counted) ??
    startProblem(look, instance) ??
    (instance.mounts ? mountsRefusal(instance.mounts) : undefined)
  );
}

/** Copy and parked source get names that every run derives anew: both have to be free. */
function nameProblem(look: HostLook, instance: InstanceLook, removesParked: boolean): Problem | undefined {
  const { name, project, config } = instance;
  const uuid = config["volatile.uuid"] ?? "";
  for (const needed of [copyName(name, uuid), parkedName(name, uuid)]) {
    const taken = look.instances.find((one) => one.name === needed && one.project === project);
    if (taken && !parkedMarkOf(taken))
      return problem(
        `the name "${needed}" is needed for it and taken by another instance`,
        "Rename that one, then run again.",
      );
    if (taken && !removesParked)
      return problem(
        `its parked copy "${needed}" of an earlier migration still exists`,
        "Name it in optIn.removeParked once it is no longer needed, then run again.",
      );
  }
  return undefined;
}

function contentProblem(instance: InstanceLook, target: MigrationTarget): Problem | undefined {
  const { name, root, bytes, backups, statefulSnapshot } = instance;
  if (backups.length > 0)
    return problem(
      `it has server-side backups (${backups.join(", ")}), which Incus cannot carry to another pool`,
      "Export them (incus export) and delete them, then run again.",
    );
  if (statefulSnapshot !== undefined)
    return problem(
      `its snapshot "${statefulSnapshot}" holds process state, which cannot be moved`,
      "Delete that snapshot, then run again.",
    );
  const size = root?.sizeBytes ?? null;
  if (size !== null && bytes !== null && bytes > size)
    return problem(
      `it uses ${formatBytes(bytes)}, more than the size of its root disk (${formatBytes(size)}), which pool "${root?.pool}" did not enforce and "${target.name}" does`,
      `Raise the size (incus config device set ${name} root size=…) or delete files, then run again.`,
    );
  return undefined;
}
