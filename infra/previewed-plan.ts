import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { VisibleError } from "@taos-hosts/providers";
import type { Plan } from "./plan.ts";
import { runId } from "./pulumi-process.ts";

const DIRECTORY = join(import.meta.dirname, "..", ".state", "previews");

/** What a person agrees to: what is done to what. Sizes and free space may move. */
function digest(plan: Plan): string[] {
  return plan.hosts.flatMap(({ host, unreachable, actions }) =>
    unreachable === null
      ? actions.map(({ kind, object }) => `${host}: ${kind} ${object}`)
      : [`${host}: does not answer`],
  );
}

/**
 * Keeps what the preview of this run said, and holds its update to it.
 * @returns whether this is an update that its preview has shown
 * @throws VisibleError naming what differs where the hosts changed between preview and update
 */
export function holdToPreview(plan: Plan, isPreview: boolean): boolean {
  const id = runId();
  if (id === undefined) return false;
  const file = join(DIRECTORY, `${id}.json`);
  const now = digest(plan);
  if (isPreview) {
    mkdirSync(DIRECTORY, { recursive: true, mode: 0o700 });
    writeFileSync(file, JSON.stringify(now), { mode: 0o600 });
    return false;
  }
  const previewed = readPreviewed(file);
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
