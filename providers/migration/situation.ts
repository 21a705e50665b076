import { UUID_KEY } from "../marks/identity.ts";
import type { CopyJournal, SourceJournal } from "../marks/journal.ts";
import type { Observation } from "./observation.ts";
import type { MigrationState } from "./states.ts";

interface Source extends Pick<SourceJournal, "id" | "phase" | "wasRunning"> {
  running: boolean;
  lastUsedAt: string;
  /** Whether parked settings are on it. */
  originals: boolean;
  undo?: { run: string; keeps?: boolean | undefined } | undefined;
}

interface Copy extends Pick<CopyJournal, "id" | "phase" | "verified"> {
  running: boolean;
  /** Whether what has the name is what this was copied from. */
  isOfHolder: boolean;
}

/** What decides the state; `Observation` reduced to the facts that matter. */
export interface Situation {
  /** The run that asks: a verification counts only for the run that made it. */
  run: string;
  /** What has the container's name. */
  holder: "nobody" | "source" | "copy" | "other";
  source?: Source;
  copy?: Copy;
  /** Where there is an instance with a journal from before a snapshot of it was restored. */
  past?: "holder" | "elsewhere";
}

/** The state that the host shows, to the run that asks. */
export function stateOf(seen: Observation, run: string): MigrationState {
  return deriveState(situationOf(seen, run));
}

/** Reduces what the host shows to what decides the state. */
function situationOf({ named, source, copy, past }: Observation, run: string): Situation {
  const situation: Situation = { run, holder: "nobody" };
  if (past) situation.past = past.instance.name === named?.name ? "holder" : "elsewhere";
  if (named) situation.holder = "other";
  if (named && source?.instance.name === named.name) situation.holder = "source";
  if (named && copy?.instance.name === named.name) situation.holder = "copy";
  if (source) {
    const { id, phase, wasRunning, originals, undo } = source.journal;
    const { running, instance } = source;
    const lastUsedAt = instance.last_used_at;
    situation.source = {
      id,
      phase,
      wasRunning,
      undo,
      running,
      lastUsedAt,
      originals: originals !== undefined,
    };
  }
  if (copy) {
    const { id, phase, verified, sourceUuid } = copy.journal;
    const isOfHolder = sourceUuid === undefined || sourceUuid === named?.config[UUID_KEY];
    situation.copy = { id, phase, verified, running: copy.running, isOfHolder };
  }
  return situation;
}

/** The one state that a situation is. Pure: the same host gives the same state to every run on every machine. */
export function deriveState(seen: Situation): MigrationState {
  const { source, copy, holder } = seen;
  if (seen.past === "holder") return "restored";
  if (!source && !copy) return holder === "nobody" ? "absent" : "settled";
  if (copy && source?.id !== copy.id) return withoutSource(seen, copy);
  if (!source) return "settled";
  if (copy?.phase === "healthy" && holder === "copy") return "healthy";
  const isOthers = holder === "copy" && copy?.running && source.undo?.run !== seen.run;
  if (source.undo && (source.undo.keeps || !isOthers)) return undoing(seen, source);
  if (holder === "source") return beforeTheSwap(seen, source);
  if (holder === "other") return "nameTaken";
  if (!copy) return "copyLost";
  if (holder === "nobody") return source.running ? "parkedRuns" : "parked";
  return copy.phase === "dressed" ? takenOver(copy) : "renamed";
}

function withoutSource({ holder, source, past }: Situation, copy: Copy): MigrationState {
  if (holder === "copy") {
    if (copy.phase === "healthy" || copy.phase === "returning") return "cleared";
    return copy.phase === "dressed" && !source ? takenOver(copy) : "sourceLost";
  }
  if (holder !== "nobody" && copy.isOfHolder) return "orphanedCopy";
  return past === "elsewhere" ? "sourceRestored" : "sourceLost";
}

function undoing({ holder, copy }: Situation, source: Source): MigrationState {
  if (holder === "copy") return "undoCopyName";
  if (holder === "other") return "nameTaken";
  if (holder === "nobody") return source.running ? "parkedRuns" : "undoSourceName";
  if (source.originals) return "undoSettings";
  if (source.wasRunning && !source.running) return "undoStart";
  return copy ? "undoCopy" : "undoJournal";
}

function beforeTheSwap({ run, copy }: Situation, source: Source): MigrationState {
  if (source.phase === "parking") return !copy || source.running ? "copyLost" : "parking";
  if (!copy) return "intended";
  if (copy.phase === "seeding") return "seeding";
  if (source.phase === "copying") return "seeded";
  if (source.running) return "stopping";
  const isVerified = copy.phase === "verified" && copy.verified?.run === run;
  return isVerified && copy.verified?.lastUsedAt === source.lastUsedAt ? "verified" : "stopped";
}

function takenOver(copy: Copy): MigrationState {
  return copy.running ? "started" : "dressed";
}
