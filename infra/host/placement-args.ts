import type * as pulumi from "@pulumi/pulumi";
import type { AgentConfig, ContainerConfig, HostConfig } from "../config/config.ts";

/**
 * What the config permits about the pool of a container or an agent. The pool to move to is named only for one that
 * is to move: the others' resources stay the same beside it.
 */
export function placementArgs(
  { optIn, migrateParallel }: HostConfig,
  name: string,
  { pool, health, stopTimeout }: ContainerConfig | AgentConfig,
  serving: pulumi.Output<string>,
) {
  return {
    ...(optIn.migrate.includes(name) ? { migrate: true, target: pool ?? serving } : {}),
    pinRoot: optIn.pinRoot.includes(name),
    undo: optIn.undo.includes(name),
    forceStop: optIn.forceStop.includes(name),
    stopTimeout,
    migrateParallel,
    health,
  };
}

/** Whether any of it is permitted. Else an agent gets none of it, so that its resource stays the same beside others. */
export function isPlacementNamed({ optIn }: HostConfig, name: string): boolean {
  return [optIn.migrate, optIn.pinRoot, optIn.undo].some((names) => names.includes(name));
}
