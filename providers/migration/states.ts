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
  /**
   * When a run comes through here. `there`: in every migration of a running container. `back`: in every undo of one.
   * `aside`: where something was interrupted or changed by hand. Tests kill a run in each of these.
   */
  way?: "there" | "back" | "aside";
  /** Points within the step, in their order, at which it may be interrupted like between two steps. */
  within?: readonly string[];
}

/** Every state that a container can be in: the one table of the migration, for code, tests and docs/migration.md. */
export const STATES = {
  settled: { holds: "no migration is under way", next: "end" },
  absent: { holds: "no instance of this name and no journal of one", next: "end" },
  intended: {
    holds: "the source has a journal, there is no copy",
    next: "copy",
    undo: "withdrawn",
    way: "there",
    within: ["clone created", "snapshots carried", "snapshots compared", "first copy"],
  },
  seeding: {
    holds: "a copy exists but was not finished",
    next: "discard the copy",
    undo: "withdrawn",
    way: "aside",
  },
  seeded: {
    holds: "the copy holds a first full copy and all snapshots; the source was not told to stop",
    next: "copy live, then announce the stop",
    undo: "withdrawn",
    way: "there",
    within: ["round 1"],
  },
  stopping: {
    holds: "the stop is announced, the source runs",
    next: "stop it",
    undo: "withdrawn",
    way: "there",
  },
  stopped: {
    holds: "the source is stopped, the copy may lack the last changes",
    next: "final pass and verification",
    undo: "withdrawn",
    way: "there",
    within: ["final pass", "compared"],
  },
  verified: {
    holds: "the copy equals the stopped source",
    next: "park the source's settings",
    undo: "withdrawn",
    way: "there",
  },
  parking: {
    holds: "the source has given up addresses and autostart, and has its name",
    next: "rename the source",
    undo: "withdrawn",
    way: "there",
  },
  parked: {
    holds: "the source has its parked name, nobody has the name",
    next: "rename the copy",
    undo: "failed",
    way: "there",
  },
  renamed: {
    holds: "the copy has the name, not yet the settings",
    next: "dress the copy",
    undo: "failed",
    way: "there",
    within: ["settings written"],
  },
  dressed: {
    holds: "the copy has name, settings and identity, and is stopped",
    next: "start it if it ran",
    undo: "failed",
    way: "there",
  },
  started: {
    holds: "the copy runs under the name, unproven",
    next: "prove its health",
    undo: "failed",
    way: "there",
  },
  healthy: {
    holds: "the copy is proven, the source still has a journal",
    next: "clear the source's journal",
    way: "there",
  },
  cleared: { holds: "the copy is proven, only its journal is left", next: "clear it", way: "there" },
  undoCopyName: {
    holds: "to be undone; the copy has the name",
    next: "stop the copy and take the name away",
    way: "back",
    within: ["copy parked"],
  },
  undoSourceName: {
    holds: "to be undone; the source has its parked name",
    next: "give the source its name back",
    way: "back",
  },
  undoSettings: {
    holds: "to be undone; the source has its name but parked settings",
    next: "put its settings back",
    way: "back",
  },
  undoStart: { holds: "to be undone; the source is whole but stopped", next: "start it", way: "back" },
  undoCopy: {
    holds: "to be undone; the source is as it was, a copy is left",
    next: "delete the copy, or leave it parked where it was the container for a while",
    way: "back",
  },
  undoJournal: { holds: "to be undone; only the journal is left", next: "clear it", way: "back" },
  orphanedCopy: {
    holds: "an unproven copy is left, the container has no migration under way",
    next: "delete the copy",
    way: "aside",
  },
  copyLost: {
    holds: "the copy disappeared or the source was started during the swap",
    next: "decide to undo",
    way: "aside",
  },
  sourceLost: { holds: "a copy that was not yet dressed, and no source anywhere", next: "end" },
  restored: {
    holds: "it was put back to a snapshot that was taken during a migration",
    next: "take the marks of that time off",
    way: "aside",
  },
  sourceRestored: {
    holds: "the source, which has not its name now, was put back to a snapshot",
    next: "end",
  },
  nameTaken: { holds: "the source is parked and something else has the name", next: "end" },
  parkedRuns: { holds: "the parked source was started before the copy took over", next: "end" },
} as const satisfies Record<string, StateRow>;

export type MigrationState = keyof typeof STATES;

/** The states of one way. */
export type StateOn<W extends NonNullable<StateRow["way"]>> = {
  [S in MigrationState]: (typeof STATES)[S] extends { way: W } ? S : never;
}[MigrationState];

type Within = {
  [S in MigrationState]: (typeof STATES)[S] extends { within: readonly (infer P)[] } ? P : never;
};
/** A moment of a run that is told to whoever watches it; tests interrupt there. */
export type Point = Within[MigrationState] | `round ${number}` | `${"before" | "after"} ${MigrationState}`;

/** Whether a run takes everything back in this state: because its opt-in was withdrawn, or because it failed. */
export function isUndone(state: MigrationState, because: "withdrawn" | "failed"): boolean {
  const { undo }: StateRow = STATES[state];
  return undo === "withdrawn" || undo === because;
}
