import { parseArgs } from "node:util";
import { startDaemon } from "../test/testbed/daemon.ts";
import checkRequirements from "../test/testbed/requirements.ts";
import type { FaultKind } from "../test/torture/judge.ts";
import { playRound } from "../test/torture/round.ts";
import { storyOf } from "../test/torture/story.ts";

/*
 * Random hosts, random configs, things done by hand and kills, judged by the incus client and the file system:
 * node script/torture.ts [--seed 1] [--rounds 1] [--daemon torture] [--keep-going] [--verbose]
 */
const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    rounds: { type: "string", default: "1" },
    daemon: { type: "string", default: "torture" },
    "keep-going": { type: "boolean", default: false },
    verbose: { type: "boolean", default: false },
  },
});
const [first, rounds] = [Number(values.seed), Number(values.rounds)];
if (!Number.isSafeInteger(first) || !Number.isSafeInteger(rounds) || rounds < 1) {
  console.error("taos-hosts: error: --seed and --rounds must be whole numbers, --rounds at least 1.");
  process.exit(1);
}

const found: Record<FaultKind, number> = { lost: 0, touched: 0, stuck: 0, noisy: 0 };
let played = 0;
await checkRequirements();
const daemon = await startDaemon({ name: values.daemon });
try {
  for (let seed = first; seed < first + rounds; seed++) {
    const failed = await play(seed);
    played++;
    if (failed && !values["keep-going"]) break;
    if (seed + 1 < first + rounds) await daemon.reset();
  }
} finally {
  await daemon.remove();
}
const counts = Object.entries(found).map(([kind, count]) => `${count} ${kind}`);
console.log(`${played} rounds over ${played} seeds: ${counts.join(", ")}`);
process.exitCode = Object.values(found).some((count) => count > 0) ? 1 : 0;

/** @returns whether something was wrong */
async function play(seed: number): Promise<boolean> {
  const started = performance.now();
  const told: string[] = [];
  const tell = (line: string): void => {
    told.push(`${((performance.now() - started) / 1000).toFixed(1)} s ${line}`);
    if (values.verbose) console.log(`  ${told.at(-1)}`);
  };
  const story = storyOf(seed);
  tell(`story: ${JSON.stringify(story)}`);
  const faults = await playRound(daemon, story, tell).catch((error: unknown) => {
    tell(`the round itself broke: ${error instanceof Error ? error.stack : error}`);
    return [{ kind: "stuck" as const, what: "the round itself broke" }];
  });
  for (const { kind } of faults) found[kind]++;
  const seconds = Math.round((performance.now() - started) / 1000);
  console.log(
    `seed ${seed}: ${faults.length === 0 ? "kept its word" : `${faults.length} faults`}, ${seconds} s`,
  );
  if (faults.length === 0) return false;
  if (!values.verbose) for (const line of told) console.log(`  ${line}`);
  for (const { kind, what } of faults) console.log(`  ${kind}: ${what}`);
  console.log(`  once more: npm run torture -- --seed ${seed}`);
  return true;
}
