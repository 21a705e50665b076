import { readFile, writeFile } from "node:fs/promises";
import { messageOf, VisibleError } from "@taos-hosts/providers";
import { execa } from "execa";
import { z } from "zod";
import { PROJECT_ROOT } from "../config/project.ts";
import type { HostPlan } from "../plan/plan.ts";
import type { Digests } from "./fleet-state.ts";

const Reviewed = z.strictObject({
  version: z.literal(1),
  /** Of the checkout, for people: what binds is the digests, since a merge gives the same content another commit. */
  commit: z.string().nullable(),
  hosts: z.record(
    z.string(),
    z.strictObject({
      config: z.string(),
      program: z.string(),
      /** What would be done to what; null where the host did not answer. */
      actions: z.array(z.string()).nullable(),
    }),
  ),
});
/** Plans as they were looked at, to be applied later as they are. */
export type Reviewed = z.infer<typeof Reviewed>;

/** The commit of the checkout; null outside a repository. */
export async function checkoutCommit(): Promise<string | null> {
  const { exitCode, stdout } = await execa("git", ["rev-parse", "HEAD"], {
    ...{ cwd: PROJECT_ROOT, reject: false, stdin: "ignore", timeout: 10_000 },
  });
  return exitCode === 0 ? stdout : null;
}

/** What a plan does to what. Sizes and free space may move without making it another one. Pure. */
export function actionLines({ unreachable, actions }: HostPlan): string[] | null {
  if (unreachable !== null) return null;
  return actions.map(
    ({ kind, object, detail }) => `${kind} ${object}${detail === undefined ? "" : ` (${detail})`}`,
  );
}

export async function saveReviewed(file: string, reviewed: Reviewed): Promise<void> {
  await writeFile(file, `${JSON.stringify(reviewed, undefined, 2)}\n`).catch((error: unknown) => {
    throw new VisibleError(`The plans cannot be saved: ${messageOf(error)}.`);
  });
}

/** @throws VisibleError where it is no file of `preview --save` */
export async function readReviewed(file: string): Promise<Reviewed> {
  try {
    return Reviewed.parse(JSON.parse(await readFile(file, "utf8")));
  } catch {
    throw new VisibleError(`${file} holds no plans. Make it with: npm run fleet -- preview --save ${file}`);
  }
}

/**
 * Why a host's plan may not be applied: it is not what was reviewed. Less than that is: a roll-out that was killed has
 * done some of it. Pure.
 */
export function objectionTo(
  { hosts, commit }: Reviewed,
  name: string,
  plan: HostPlan,
  { config, program }: Digests,
): string | undefined {
  const reviewed = hosts[name];
  const again = "Review a new preview.";
  const where = commit === null ? "" : `, at commit ${commit.slice(0, 12)}`;
  if (!reviewed) return `it is not among the reviewed plans. ${again}`;
  if (reviewed.config !== config) return `its config is another than the reviewed one${where}. ${again}`;
  if (reviewed.program !== program) return `the program is another than the reviewed one${where}. ${again}`;
  if (reviewed.actions === null) return `it did not answer when its plan was reviewed. ${again}`;
  const known = new Set(reviewed.actions);
  const added = (actionLines(plan) ?? []).filter((line) => !known.has(line));
  if (added.length === 0) return undefined;
  return `its plan is not the reviewed one; now also: ${added.join(", ")}. ${again}`;
}
