import type { StateOn } from "../../providers/migration/states.ts";
import { statesOn } from "../providers/migration/points.ts";

/**
 * What a run tells in each state on the way of a migration, where that lasts long enough to strike it from outside. In
 * the others it is struck from within (test/providers/migration/interruptions.incus.test.ts).
 */
export const SAID: Record<StateOn<"there">, RegExp | undefined> = {
  intended: /cloning base image/,
  seeded: /live round 1 done/,
  stopping: undefined,
  stopped: undefined,
  verified: /swapping: parking the source/,
  parking: undefined,
  parked: undefined,
  renamed: undefined,
  dressed: /starting from pool/,
  started: undefined,
  healthy: undefined,
  cleared: undefined,
};

/** Phases in which a run is struck, one after the other: each run goes on from where the one before was struck. */
export const PHASES: RegExp[] = statesOn("there").flatMap((state) => SAID[state] ?? []);
