import {
  type HostLook,
  type InstanceLook,
  migrationMarkOf,
  type PoolLook,
  parkedMarkOf,
} from "@taos-hosts/providers";
import type { AgentConfig, ContainerConfig, HostConfig } from "../config/config.ts";
import type { Findings } from "./findings.ts";

/** One host of the plan: what is wanted, what is there, and what was found so far. */
export interface Scene {
  host: HostConfig;
  look: HostLook;
  /** The ownership mark that this stack gives to an object of this name. */
  owner: (name: string) => string;
  findings: Findings;
}

/** A container of the config that is on the host. */
export interface Present {
  name: string;
  entry: ContainerConfig | AgentConfig;
  instance: InstanceLook;
  /** What has the journal of a migration of it that was begun and not finished. */
  interrupted: InstanceLook | undefined;
}

export function findPool(look: HostLook, name: string | undefined): PoolLook | undefined {
  return look.pools.find((one) => one.name === name);
}

export function findInstance(look: HostLook, project: string, name: string): InstanceLook | undefined {
  return look.instances.find((one) => one.name === name && one.project === project);
}

/** An instance with the journal of this container's migration, where one is under way. */
export function interruptedOf(look: HostLook, project: string, name: string): InstanceLook | undefined {
  return look.instances.find((one) => one.project === project && migrationMarkOf(one) === name);
}

/** The name of the container whose kept source this is; null for every other instance. */
export function parkedOf(instance: InstanceLook): string | null {
  return parkedMarkOf(instance)?.name ?? null;
}

/** The project whose profiles containers of a project have. */
export function profileProject(look: HostLook, project: string): string {
  return look.projects.some((one) => one.name === project && one.ownProfiles) ? project : "default";
}
