import type { HostPlan } from "../plan/plan.ts";
import { actionLine, COLUMNS, launchLines, poolLine, refusalLine, rowsOf, summary } from "./lines.ts";

/** What becomes of one host, for a pull request comment. Ends with a newline. */
export function markdownHost(plan: HostPlan): string {
  const head = `### ${escaped(plan.host)}: ${summary(plan)}`;
  if (plan.unreachable !== null) return `${head}\n\n${escaped(plan.unreachable)}\n`;
  const { rows, groups } = rowsOf(plan);
  const table = rows.length > 0 ? [COLUMNS, COLUMNS.map(() => "---"), ...rows].map(tableRow) : [];
  const refused = plan.refusals.filter(({ severity }) => severity === "error");
  const waiting = plan.refusals.filter(({ severity }) => severity === "held");
  const lines = [
    head,
    "",
    ...block([escaped(poolLine(plan))]),
    ...launchLines(plan).flatMap((line) => block([escaped(line)])),
    ...block(table),
    ...block(groups.map(item)),
    ...list("To do", plan.actions.map(actionLine)),
    ...list("Refused", refused.map(refusalLine)),
    ...list("Waiting", waiting.map(refusalLine)),
    ...list("Good to know", plan.remarks),
  ];
  return lines.join("\n");
}

/** Lines and an empty one; nothing where there are none. */
function block(lines: string[]): string[] {
  return lines.length > 0 ? [...lines, ""] : [];
}

function list(title: string, entries: string[]): string[] {
  return entries.length > 0 ? [`**${title}**`, "", ...block(entries.map(item))] : [];
}

function item(text: string): string {
  return `- ${escaped(text)}`;
}

function tableRow(row: readonly string[]): string {
  return `| ${row.map(escaped).join(" | ")} |`;
}

/** Names come from the host: none of them may become markup, a link or a mention in a comment. */
function escaped(text: string): string {
  return text.replaceAll(/[\\`*_[\]<>|#@]/g, "\\$&").replaceAll(/[\r\n]+/g, " ");
}
