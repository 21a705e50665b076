import type { CopyJournal, SourceJournal } from "../marks/journal.ts";

interface StateRow {
  /** What is true on the host. */
  holds: string;
  /** What a run does then. `end`: nothing, either because there is nothing to do or because a person has to decide. */
  next: string;
  /**
   * When a run takes everything back instead. `withdrawn`: where the opt-in is gone, and where the run fails; before
   * the swap's first rename that is at least as safe as going on. `failed`: only where the run fails.
   */
  undo?: "withdrawn" | "failed";
}

/** Every state that a container can be in: the one table of the migration, for code, tests and docs/migration.md. */
export const STATES = {
  settled: { holds: "no migration is under way", next: "end" },
  absent: { holds: "no instance of this name and no journal of one", next: "end" },
  intended: { holds: "the source has a journal, there is no copy", next: "copy", undo: "withdrawn" },
  seeding: { holds: "a copy exists but was not finished", next: "discard the copy", undo: "withdrawn" },
  seeded: {
    holds: "the copy holds a first full copy and all snapshots; the source was not told to stop",
    next: "copy live, then announce the stop",
    undo: "withdrawn",
  },
  stopping: { holds: "the stop is announced, the source runs", next: "stop it", undo: "withdrawn" },
  stopped: {
    holds: "the source is stopped, the copy may lack the last changes",
    next: "final pass and verification",
    undo: "withdrawn",
  },
  verified: {
    holds: "the copy equals the stopped source",
    next: "park the source's settings",
    undo: "withdrawn",
  },
  parking: {
    holds: "the source has given up addresses and autostart, and has its name",
    next: "rename the source",
    undo: "withdrawn",
  },
  parked: {
    holds: "the source has its parked name, nobody has the name",
    next: "rename the copy",
    undo: "failed",
  },
  renamed: { holds: "the copy has the name, not yet the settings", next: "dress the copy", undo: "failed" },
  dressed: {
    holds: "the copy has name, settings and identity, and is stopped",
    next: "start it if it ran",
    undo: "failed",
  },
  started: { holds: "the copy runs under the name, unproven", next: "prove its health", undo: "failed" },
  healthy: {
    holds: "the copy is proven, the source still has a journal",
    next: "clear the source's journal",
  },
  cleared: { holds: "the copy is proven, only its journal is left", next: "clear it" },
  undoCopyName: {
    holds: "to be undone; the copy has the name",
    next: "stop the copy and take the name away",
  },
  undoSourceName: {
    holds: "to be undone; the source has its parked name",
    next: "give the source its name back",
  },
  undoSettings: {
    holds: "to be undone; the source has its name but parked settings",
    next: "put its settings back",
  },
  undoStart: { holds: "to be undone; the source is whole but stopped", next: "start it" },
  undoCopy: {
    holds: "to be undone; the source is as it was, a copy is left",
    next: "delete the copy, or leave it parked where it was the container for a while",
  },
  undoJournal: { holds: "to be undone; only the journal is left", next: "clear it" },
  orphanedCopy: {
    holds: "an unproven copy is left, the container has no migration under way",
    next: "delete the copy",
  },
  copyLost: {
    holds: "the copy disappeared or the source was started during the swap",
    next: "decide to undo",
  },
  sourceLost: { holds: "a copy that was not yet dressed, and no source anywhere", next: "end" },
  restored: {
    holds: "it was put back to a snapshot that was taken during a migration",
    next: "take the marks of that time off",
  },
  sourceRestored: {
    holds: "the source, which has not its name now, was put back to a snapshot",
    next: "end",
  },
  nameTaken: { holds: "the source is parked and something else has the name", next: "end" },
  parkedRuns: { holds: "the parked source was started before the copy took over", next: "end" },
} as const satisfies Record<string, StateRow>;

export type MigrationState = keyof typeof STATES;

/** Whether a run takes everything back in this state: because its opt-in was withdrawn, or because it failed. */
export function isUndone(state: MigrationState, because: "withdrawn" | "failed"): boolean {
  const { undo }: StateRow = STATES[state];
  return undo === "withdrawn" || undo === because;
}

/** What decides the state; `Observation` reduced to the facts that matter. */
export interface Situation {
  /** The run that asks: a verification counts only for the run that made it. */
  run: string;
  /** What has the container's name. */
  holder: "nobody" | "source" | "copy" | "other";
  source?: Pick<SourceJournal, "id" | "phase" | "wasRunning"> & {
    running: boolean;
    lastUsedAt: string;
    /** Whether parked settings are on it. */
    originals: boolean;
    undo?: { run: string; keeps?: boolean | undefined } | undefined;
  };
  copy?: Pick<CopyJournal, "id" | "phase" | "verified" | "startedBy"> & {
    running: boolean;
    /** Whether what has the name is what this was copied from. */
    isOfHolder: boolean;
  };
  /** Where there is an instance with a journal from before a snapshot of it was restored. */
  past?: "holder" | "elsewhere";
}

/** The one state that a situation is. Pure: the same host gives the same state to every run on every machine. */
export function deriveState(seen: Situation): MigrationState {
  const { source, copy, holder } = seen;
  if (seen.past === "holder") return "restored";
  if (!source && !copy) return holder === "nobody" ? "absent" : "settled";
  if (copy && (!source || source.id !== copy.id)) return withoutSource(seen, copy, source);
  if (!source) return "settled";
  if (copy?.phase === "healthy" && holder === "copy") return "healthy";
  const isOthers = holder === "copy" && copy?.running && source.undo?.run !== seen.run;
  if (source.undo && (source.undo.keeps || !isOthers)) {
    return undoing(holder, source, copy !== undefined);
  }
  if (holder === "source") return beforeTheSwap(seen, source, copy);
  if (!copy) return holder === "other" ? "nameTaken" : "copyLost";
  if (holder === "copy") return takenOver(copy);
  if (holder === "other") return "nameTaken";
  return source.running ? "parkedRuns" : "parked";
}

function withoutSource(
  seen: Situation,
  copy: NonNullable<Situation["copy"]>,
  source: Situation["source"],
): MigrationState {
  if (seen.holder === "copy") {
    if (copy.phase === "healthy" || copy.phase === "returning") return "cleared";
    if (copy.phase === "dressed" && !source) return copy.running ? "started" : "dressed";
    return "sourceLost";
  }
  if (seen.holder !== "nobody" && copy.isOfHolder) return "orphanedCopy";
  return seen.past === "elsewhere" ? "sourceRestored" : "sourceLost";
}

function undoing(
  holder: Situation["holder"],
  source: NonNullable<Situation["source"]>,
  copyExists: boolean,
): MigrationState {
  if (holder === "copy") return "undoCopyName";
  if (holder === "other") return "nameTaken";
  if (holder === "nobody") return source.running ? "parkedRuns" : "undoSourceName";
  if (source.originals) return "undoSettings";
  if (source.wasRunning && !source.running) return "undoStart";
  return copyExists ? "undoCopy" : "undoJournal";
}

function beforeTheSwap(
  seen: Situation,
  source: NonNullable<Situation["source"]>,
  copy: Situation["copy"],
): MigrationState {
  if (source.phase === "parking") {
    if (!copy || source.running) return "copyLost";
    return "parking";
  }
  if (!copy) return "intended";
  if (copy.phase === "seeding") return "seeding";
  if (source.phase === "copying") return "seeded";
  if (source.running) return "stopping";
  const verified = copy.phase === "verified" && copy.verified?.run === seen.run;
  return verified && copy.verified?.lastUsedAt === source.lastUsedAt ? "verified" : "stopped";
}

function takenOver(copy: NonNullable<Situation["copy"]>): MigrationState {
  if (copy.phase === "dressed") return copy.running ? "started" : "dressed";
  return "renamed";
}
