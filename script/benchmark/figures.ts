/** What one thing took in several rounds, in milliseconds. */
export interface Sample {
  median: number;
  least: number;
  most: number;
}

/** One line of the result: a thing done by us and by others, in the same rounds. */
export interface Row {
  what: string;
  /** By who did it; ours is `taos-hosts`. */
  times: Record<string, Sample>;
}

export const OURS = "taos-hosts";

/** Something to measure; what is to be done before and after it is not measured. */
export interface Step {
  what: string;
  by: string;
  run: () => Promise<unknown>;
}

/**
 * Runs all steps in their order, `rounds` times after one round that only warms up, so that what slows the machine down
 * for a while slows all of them. A step without `what` is not measured.
 */
export async function measureRounds(rounds: number, steps: readonly Step[]): Promise<Row[]> {
  const taken = new Map<Step, number[]>(steps.map((step) => [step, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const step of steps) {
      const started = performance.now();
      await step.run();
      const took = performance.now() - started;
      if (step.what !== "") process.stderr.write(`  ${round}: ${step.what}, ${step.by}: ${seconds(took)}\n`);
      if (round > 0) taken.get(step)?.push(took);
    }
  }
  const rows = new Map<string, Row>();
  for (const step of steps.filter(({ what }) => what !== "")) {
    const row = rows.get(step.what) ?? { what: step.what, times: {} };
    row.times[step.by] = sampleOf(taken.get(step) ?? []);
    rows.set(step.what, row);
  }
  return [...rows.values()];
}

function sampleOf(times: number[]): Sample {
  const sorted = times.toSorted((one, other) => one - other);
  const at = (index: number): number => sorted[index] ?? Number.NaN;
  return { median: at(Math.floor(sorted.length / 2)), least: at(0), most: at(sorted.length - 1) };
}

/** A table in Markdown: each thing with who did it, and ours in parts of theirs. */
export function tableOf(rows: readonly Row[]): string {
  const lines = rows.map(({ what, times }) => {
    const ours = times[OURS];
    const beside = Object.entries(times)
      .filter(([by]) => by !== OURS)
      .map(
        ([by, theirs]) =>
          `${by}: ${spread(theirs)}${ours ? ` (ours is ${(ours.median / theirs.median).toFixed(2)} of it)` : ""}`,
      );
    return `| ${what} | ${ours ? spread(ours) : "–"} | ${beside.join("; ")} |`;
  });
  return ["| What | Time | Beside |", "|---|---|---|", ...lines, ""].join("\n");
}

function spread({ median, least, most }: Sample): string {
  return `${seconds(median)} (${seconds(least)}–${seconds(most)})`;
}

/** Milliseconds for people. */
export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1_000).toFixed(2)} s`;
}
