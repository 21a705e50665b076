import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

/** Of a stack in Pulumi's backend of files, as `npm run` sets it up. */
export interface StackState {
  /** Directory of the backend: `.state/backend`. */
  backend: string;
  project: string;
  stack: string;
  /** Where looks are kept. */
  directory: string;
}

/**
 * What was seen before a run of Pulumi, and that run: the one that follows `after` in the stack's history. `script/stack`
 * reads `config`, the SHA-256 of the stack's file.
 */
const Look = z.object({ config: z.string(), fingerprint: z.string(), after: z.string(), at: z.number() });

/** The fields in use of a file in the backend's history. Times in seconds. */
const Update = z.object({
  kind: z.string(),
  result: z.string(),
  startTime: z.number(),
  resourceChanges: z.record(z.string(), z.number()).default({}),
});

/** How long after its look a run of Pulumi begins at the latest, in milliseconds. */
const LONGEST_START = 120_000;

/**
 * True where a run of Pulumi would find nothing to do: the last one found nothing, on hosts, config and program that
 * looked as they look now, and its state is the stack's state still, with no run under way. What Pulumi finds depends
 * on nothing else.
 * @param fingerprint of hosts, config and program, now
 */
export function isUnchanged(state: StackState, fingerprint: string): boolean {
  try {
    const look = Look.parse(JSON.parse(readFileSync(lookFile(state), "utf8")));
    const [last, before = ""] = history(state);
    if (look.fingerprint !== fingerprint || last === undefined || before !== look.after) return false;
    const update = Update.parse(JSON.parse(readFileSync(join(folder(state, "history"), last), "utf8")));
    const begun = update.startTime * 1_000;
    const changes = Object.keys(update.resourceChanges).filter((change) => change !== "same");
    if (update.kind !== "update" || update.result !== "succeeded" || changes.length > 0) return false;
    if (begun < look.at - 1_000 || begun > look.at + LONGEST_START) return false;
    const left = readFileSync(
      join(folder(state, "history"), last.replace(/history\.json$/, "checkpoint.json")),
    );
    return left.equals(readFileSync(`${folder(state, "stacks")}.json`)) && !isLocked(state);
  } catch {
    // What cannot be read proves nothing.
    return false;
  }
}

/** Keeps what is seen before a run of Pulumi that follows at once. */
export function rememberLook(state: StackState, configFile: string, fingerprint: string): void {
  mkdirSync(state.directory, { recursive: true, mode: 0o700 });
  const config = createHash("sha256").update(readFileSync(configFile)).digest("hex");
  const look = { config, fingerprint, after: history(state)[0] ?? "", at: Date.now() };
  writeFileSync(lookFile(state), JSON.stringify(look), { mode: 0o600 });
}

function lookFile({ directory, stack }: StackState): string {
  return join(directory, `${stack}.json`);
}

function folder({ backend, project, stack }: StackState, kind: "history" | "stacks"): string {
  return join(backend, ".pulumi", kind, project, stack);
}

/** Names of the stack's runs, the last one first: they carry the time in nanoseconds. */
function history(state: StackState): string[] {
  try {
    const names = readdirSync(folder(state, "history"));
    return names
      .filter((name) => name.endsWith(".history.json"))
      .sort()
      .reverse();
  } catch {
    return [];
  }
}

function isLocked({ backend, project, stack }: StackState): boolean {
  try {
    return readdirSync(join(backend, ".pulumi/locks/organization", project, stack)).length > 0;
  } catch {
    return false;
  }
}
