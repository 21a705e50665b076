import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { VisibleError } from "@taos-hosts/providers";
import { runId } from "../config/pulumi-process.ts";
import type { Plan } from "../plan/plan.ts";

const DIRECTORY = join(import.meta.dirname, "..", "..", ".state", "previews");

/** How long what a preview said is kept for its update, in milliseconds: a question may stay open over a week-end. */
const LONGEST_WAIT = 7 * 24 * 3_600_000;

/** What a person agrees to: what is done to what. Sizes and free space may move. */
function digest(plan: Plan): string[] {
  return plan.hosts.flatMap(({ host, unreachable, actions }) =>
    unreachable === null
      ? actions.map(({ kind, object }) => `${host}: ${kind} ${object}`)
      : [`${host}: does not answer`],
  );
}

/**
 * Keeps what the preview of this run said, and holds its update to it; the update takes it away.
 * @param directory where it is kept
 * @returns whether this is an update that its preview has shown
 * @throws VisibleError naming what differs where the hosts changed between preview and update
 */
export function holdToPreview(plan: Plan, isPreview: boolean, directory = DIRECTORY): boolean {
  const id = runId();
  if (id === undefined) return false;
  const file = join(directory, `${id}.json`);
  const now = digest(plan);
  if (isPreview) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    dropAbandoned(directory);
    writeFileSync(file, JSON.stringify(now), { mode: 0o600 });
    return false;
  }
  const previewed = readPreviewed(file);
  rmSync(file, { force: true });
  if (previewed === undefined) return false;
  const added = now.filter((line) => !previewed.includes(line)).map((line) => `now also: ${line}`);
  const gone = previewed.filter((line) => !now.includes(line)).map((line) => `no longer: ${line}`);
  if (added.length + gone.length > 0) {
    throw new VisibleError(
      `The hosts changed since the preview; nothing was done. Look at a new preview.\n${[...added, ...gone].join("\n")}`,
    );
  }
  return true;
}

/** Undefined where the update runs without a preview (`--skip-preview`). */
function readPreviewed(file: string): string[] | undefined {
  try {
    const lines: unknown = JSON.parse(readFileSync(file, "utf8"));
    return Array.isArray(lines) ? lines.map(String) : undefined;
  } catch {
    return undefined;
  }
}

/** Removes what previews said whose update never came. */
function dropAbandoned(directory: string): void {
  for (const name of readdirSync(directory).filter((one) => one.endsWith(".json"))) {
    const file = join(directory, name);
    // Another run may take its own away at this moment.
    const age = Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > LONGEST_WAIT) rmSync(file, { force: true });
  }
}
