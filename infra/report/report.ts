import type { Plan } from "../plan/plan.ts";
import { summary } from "./lines.ts";
import { markdownHost } from "./markdown.ts";
import { textHost } from "./text.ts";

export type ReportFormat = "text" | "markdown" | "json";

/** The plan for people (`text`, `markdown`) or programs (`json`). Ends with a newline. */
export function report(plan: Plan, format: ReportFormat): string {
  if (format === "json") return `${JSON.stringify(plan, undefined, 2)}\n`;
  return plan.hosts.map(format === "text" ? textHost : markdownHost).join("\n");
}

/** A line for each host: how much would be done, or is. Ends with a newline. */
export function summaries(plan: Plan): string {
  return plan.hosts.map((host) => `${host.host}: ${summary(host)}\n`).join("");
}
