import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { PROJECT_ROOT } from "../config/project.ts";
import { needOf, outcomeOf } from "../fleet/outcome.ts";
import { pageOf } from "../page/page.ts";
import type { Inlined, PageData, PageHost } from "../page/types.ts";
import type { HostPlan } from "../plan/plan.ts";

/** The page with its style and script in it: one file that needs nothing else. */
export async function pageText(data: PageData): Promise<string> {
  const [style, script] = await Promise.all([inlined("page.css"), inlined("page.js")]);
  return pageOf(data, style, script);
}

async function inlined(name: string): Promise<Inlined> {
  const text = await readFile(join(PROJECT_ROOT, "infra/page", name), "utf8");
  return { text, hash: `sha256-${createHash("sha256").update(text).digest("base64")}` };
}

/** A host of a plan alone: nothing is known of runs of its stack. */
export function plannedHost(plan: HostPlan): PageHost {
  const outcome = outcomeOf(needOf(plan, "current"), "current", "look");
  const unknown = { paused: null, wave: null, tags: [], lastUp: null };
  return { name: plan.host, outcome, reason: "", ...unknown, plan };
}
