import { type Point, STATES, type StateOn } from "../../../providers/migration/states.ts";

type Way = "there" | "back" | "aside";

/** The states of a way, in the order of the table. */
export function statesOn<W extends Way>(way: W): StateOn<W>[] {
  const rows = Object.entries(STATES).filter(([, row]) => "way" in row && row.way === way);
  return rows.map(([state]) => state as StateOn<W>);
}

/**
 * Every point of a way at which a run can be killed and leave something to the next: within each step, and after it.
 * The last step leaves nothing.
 */
export function pointsOn(way: "there" | "back"): Point[] {
  const states: readonly (StateOn<"there"> | StateOn<"back">)[] = statesOn(way);
  const points = states.flatMap((state): Point[] => {
    const row = STATES[state];
    return ["within" in row ? row.within : [], `after ${state}` as const].flat();
  });
  return points.slice(0, -1);
}
