import type { Instance as LiveInstance } from "../incus/schemas.ts";
import { ownershipOf } from "../marks/ownership.ts";
import type { Whereabouts } from "../placement/placement.ts";
import { changedFields } from "../pulumi/drift.ts";
import type { CommonState } from "../pulumi/lifecycle.ts";
import type { InstanceArgs } from "./config.ts";

/** What Pulumi keeps of an instance. */
export interface InstanceState extends InstanceArgs, CommonState {
  /** `volatile.uuid`: tells a container of the same name made by somebody else. */
  uuid: string;
  /** First IPv4 address as of the last look; empty where none was waited for. */
  ipv4: string;
  /** False where the instance exists but is not up yet: the next run goes on. */
  isReady: boolean;
  /** Name of the predecessor that a replacement kept; empty where there is none. */
  parked: string;
  drift: string[];
  /** Where it is, as of the last refresh; states of 0.1 lack it. */
  where?: Whereabouts | undefined;
}

/** Args that say how to make one, or permit something: nothing of a ready instance differs by them. */
export const NOT_ON_HOST = [
  "pool",
  "removeParked",
  "allowReplace",
  "ready",
  "readyTimeout",
  "placement",
  "secretProps",
] as const satisfies readonly (keyof InstanceArgs)[];
/** Args whose change makes the instance anew. */
export const REPLACING_ARGS = ["image", "project"] as const satisfies readonly (keyof InstanceArgs)[];

/** Ours by its mark; where somebody took the mark off, by the uuid that Incus gave it when we made it. */
export function isOurs(state: InstanceState, live: LiveInstance): boolean {
  const ownership = ownershipOf(live.config, state.owner);
  return ownership === "ours" || (ownership === "unowned" && live.config["volatile.uuid"] === state.uuid);
}

/** What of a change takes a new container. */
export function replacingFields(state: InstanceState, args: InstanceArgs): string[] {
  return changedFields(state, args).filter((field) => (REPLACING_ARGS as readonly string[]).includes(field));
}
