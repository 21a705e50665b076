import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { runId } from "../config/pulumi-process.ts";
import type { Plan } from "../plan/plan.ts";

const DIRECTORY = join(import.meta.dirname, "..", "..", ".state", "previews");

/** How long what a preview said is kept for its update, in milliseconds: a question may stay open over a week-end. */
const LONGEST_WAIT = 7 * 24 * 3_600_000;

/** What a person agrees to, by host: what is done to what. Sizes and free space may move. Null: it did not answer. */
const Previewed = z.record(z.string(), z.array(z.string()).nullable());
type Previewed = z.infer<typeof Previewed>;

function digest(plan: Plan): Previewed {
  return Object.fromEntries(
    plan.hosts.map(({ host, unreachable, actions }) => [
      host,
      unreachable === null ? actions.map(({ kind, object }) => `${kind} ${object}`) : null,
    ]),
  );
}

/** What an update has of its preview. */
export interface Held {
  /** The preview has shown this plan, of every host that is not under `changed`. */
  wasShown: boolean;
  /** What differs, of each host that changed between preview and update: nothing is done there. */
  changed: Record<string, string>;
}

/**
 * Keeps what the preview of this run said, and holds each host of its update to it; the update takes it away. A host
 * that does not answer any more is held by that already.
 * @param directory where it is kept
 */
export function holdToPreview(plan: Plan, isPreview: boolean, directory = DIRECTORY): Held {
  const id = runId();
  if (id === undefined) return { wasShown: false, changed: {} };
  const file = join(directory, `${id}.json`);
  const now = digest(plan);
  if (isPreview) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    dropAbandoned(directory);
    writeFileSync(file, JSON.stringify(now), { mode: 0o600 });
    return { wasShown: false, changed: {} };
  }
  const previewed = readPreviewed(file);
  rmSync(file, { force: true });
  if (previewed === undefined) return { wasShown: false, changed: {} };
  return { wasShown: true, changed: differences(previewed, now) };
}

/** What differs, by host, between the plan that was agreed to and one made later in the same run. */
export function changedSince(agreed: Plan, now: Plan): Record<string, string> {
  return differences(digest(agreed), digest(now));
}

function differences(previewed: Previewed, now: Previewed): Record<string, string> {
  const changed = Object.entries(now).flatMap(([host, lines]) => {
    const before = previewed[host] ?? [];
    const added = (lines ?? before).filter((line) => !before.includes(line));
    const gone = before.filter((line) => !(lines ?? before).includes(line));
    const found = [
      ...added.map((line) => `now also: ${host}: ${line}`),
      ...gone.map((line) => `no longer: ${host}: ${line}`),
    ];
    return found.length === 0 ? [] : [[host, found.join("\n")]];
  });
  return Object.fromEntries(changed);
}

/** The plan with what changed since its preview refused, host by host: the others go on. */
export function withHeld(plan: Plan, { changed }: Pick<Held, "changed">): Plan {
  const hosts = plan.hosts.map((host) => {
    const found = changed[host.host];
    if (found === undefined) return host;
    const refusal = {
      severity: "error" as const,
      object: "its plan",
      reason: "it changed since the preview; nothing was done there",
      remedy: `Look at a new preview.\n${found}`,
    };
    return { ...host, refusals: [...host.refusals, refusal] };
  });
  return { hosts };
}

/** Undefined where the update runs without a preview (`--skip-preview`). */
function readPreviewed(file: string): Previewed | undefined {
  try {
    return Previewed.parse(JSON.parse(readFileSync(file, "utf8")));
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
