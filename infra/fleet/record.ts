import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { withSlot } from "@taos-hosts/providers";
import { execa } from "execa";
import { z } from "zod";
import { PROJECT_ROOT } from "../config/project.ts";

/**
 * Stack tag that records the last successful `up`. Every backend keeps tags beside the state, so any checkout finds
 * them, and a roll-out needs no record of its own: what is done is said by its hosts.
 */
const TAG = "taos-hosts:applied";

/** Value of the tag, as JSON; Pulumi Cloud allows 256 characters. */
const Applied = z.strictObject({
  /** Digests of the host's config and of the program. */
  config: z.string(),
  program: z.string(),
  /** When the stack's state was written by that `up`: another time means that something else has run since. */
  state: z.string(),
  /** When it ended. */
  at: z.string(),
});
export type Applied = z.infer<typeof Applied>;

/** What a stack's backend says of it. */
export interface StackRecord {
  applied: Applied | null;
  /** When the state was last written, to the millisecond; null where there is no such stack. */
  state: string | null;
}

const Tags = z.looseObject({ tags: z.record(z.string(), z.string()) });
const Stacks = z.array(z.looseObject({ name: z.string(), lastUpdate: z.string().optional() }));

/** Reads the records of stacks of this project: from a folder's files without Pulumi, else by its CLI. */
export async function readRecords(
  project: string,
  stacks: readonly string[],
): Promise<Map<string, StackRecord>> {
  const backend = process.env["PULUMI_BACKEND_URL"] ?? "";
  if (backend.startsWith("file:///")) {
    const folder = join(decodeURIComponent(new URL(backend).pathname), ".pulumi/stacks", project);
    const read = stacks.map(async (stack) => [stack, await recordInFolder(folder, stack)] as const);
    return new Map(await Promise.all(read));
  }
  return recordsByCli(stacks);
}

async function recordInFolder(folder: string, stack: string): Promise<StackRecord> {
  const [state, tags] = await Promise.all(
    ["json", "pulumi-tags"].map((end) => readFile(join(folder, `${stack}.${end}`), "utf8").catch(() => "")),
  );
  // The manifest comes first in a state; its time is what `stack ls` gives as the last update.
  const time = /"manifest":\s*\{\s*"time":\s*"([^"]+)"/.exec((state ?? "").slice(0, 4_096))?.[1];
  return { state: moment(time), applied: appliedIn(Tags.safeParse(parsed(tags)).data?.tags[TAG]) };
}

/** As `readRecords` for any backend: one `stack ls`, and `stack tag get` for each stack that is there. */
export async function recordsByCli(stacks: readonly string[]): Promise<Map<string, StackRecord>> {
  const listed = Stacks.parse(JSON.parse(await pulumi("stack", "ls", "--json")));
  const states = new Map(listed.map(({ name, lastUpdate }) => [name.split("/").at(-1), moment(lastUpdate)]));
  const read = stacks.map((stack) =>
    withSlot("records", availableParallelism(), async (): Promise<[string, StackRecord]> => {
      const state = states.get(stack) ?? null;
      if (state === null) return [stack, { applied: null, state }];
      // It fails where there is no such tag.
      const value = await pulumi("stack", "tag", "get", TAG, "--stack", stack).catch(() => undefined);
      return [stack, { applied: appliedIn(value), state }];
    }),
  );
  return new Map(await Promise.all(read));
}

/** Keeps that an `up` of a stack has succeeded just now. @throws ExecaError, where the next run starts Pulumi again */
export async function writeRecord(
  project: string,
  stack: string,
  digests: Pick<Applied, "config" | "program">,
): Promise<Applied | null> {
  const { state } = (await readRecords(project, [stack])).get(stack) ?? { state: null };
  if (state === null) return null;
  const applied: Applied = { ...digests, state, at: new Date().toISOString() };
  await pulumi("stack", "tag", "set", TAG, JSON.stringify(applied), "--stack", stack);
  return applied;
}

async function pulumi(...args: string[]): Promise<string> {
  const { stdout } = await execa("pulumi", [...args, "--non-interactive"], {
    ...{ cwd: PROJECT_ROOT, stdin: "ignore", timeout: 120_000, detached: true },
  });
  return stdout;
}

function appliedIn(value: string | undefined): Applied | null {
  return Applied.safeParse(parsed(value)).data ?? null;
}

function parsed(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? "");
  } catch {
    return undefined;
  }
}

function moment(time: string | undefined): string | null {
  const date = new Date(time ?? "");
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}
