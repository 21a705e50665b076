import { UUID_KEY } from "../marks/identity.ts";
import type { Observation } from "./observation.ts";
import type { Situation } from "./states.ts";

/** Reduces what the host shows to what decides the state. */
export function situationOf({ named, source, copy, past }: Observation, run: string): Situation {
  const situation: Situation = { run, holder: "nobody" };
  if (past) situation.past = past.instance.name === named?.name ? "holder" : "elsewhere";
  if (named) situation.holder = "other";
  if (named && source?.instance.name === named.name) situation.holder = "source";
  if (named && copy?.instance.name === named.name) situation.holder = "copy";
  if (source) {
    const { id, phase, wasRunning, originals, undo } = source.journal;
    situation.source = {
      ...{ id, phase, wasRunning, undo },
      running: source.running,
      lastUsedAt: source.instance.last_used_at,
      originals: originals !== undefined,
    };
  }
  if (copy) {
    const { id, phase, verified, startedBy, sourceUuid } = copy.journal;
    const isOfHolder = sourceUuid === undefined || sourceUuid === named?.config[UUID_KEY];
    situation.copy = { id, phase, verified, startedBy, running: copy.running, isOfHolder };
  }
  return situation;
}
