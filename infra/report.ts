import { formatBytes } from "@taos-hosts/providers";
import { describeCost } from "./plan/rows.ts";
import type { Action, ContainerRow, HostPlan, Plan } from "./plan.ts";

export type ReportFormat = "text" | "markdown" | "json";

/** Rows to which nothing happens are shown one by one up to here; beyond it they are counted by pool. */
const QUIET_ROWS = 20;
/** Width that the text report keeps to, in columns. */
const WIDTH = 120;

/** The plan for people (`text`, `markdown`) or programs (`json`). Ends with a newline. */
export function report(plan: Plan, format: ReportFormat): string {
  if (format === "json") return `${JSON.stringify(plan, undefined, 2)}\n`;
  return plan.hosts.map((host) => (format === "text" ? textHost(host) : markdownHost(host))).join("\n");
}

const COLUMNS = ["container", "pool", "prot.", "size", "snap.", "what would happen", "why not"];

/** Cells of one row; the same in both formats. */
function cells(row: ContainerRow): string[] {
  const state = row.status === "Running" ? "" : ` (${row.status.toLowerCase()})`;
  const total = row.bytes === null ? "?" : formatBytes(row.bytes + (row.snapshotBytes ?? 0));
  return [
    `${row.name}${state}`,
    row.driver === "" ? row.pool : `${row.pool} (${row.driver})`,
    row.protected ? "yes" : "no",
    total,
    String(row.snapshots),
    row.action ?? "nothing",
    row.whyNot ?? "",
  ];
}

/** Rows worth a line of their own, and one line for each group of the others. */
function rowsOf(plan: HostPlan): { rows: ContainerRow[]; groups: string[] } {
  const quiet = plan.containers.filter(
    (row) => row.action === null && row.listed !== "containers" && row.parkedOf === null,
  );
  if (quiet.length <= QUIET_ROWS) return { rows: plan.containers, groups: [] };
  const groups = new Map<string, ContainerRow[]>();
  for (const row of quiet) {
    const key = `${row.pool}${row.driver === "" ? "" : ` (${row.driver})`}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return {
    rows: plan.containers.filter((row) => !quiet.includes(row)),
    groups: [...groups].map(([pool, rows]) => groupLine(pool, rows)),
  };
}

function groupLine(pool: string, rows: ContainerRow[]): string {
  const known = rows.filter(({ bytes }) => bytes !== null);
  const bytes = known.reduce((sum, row) => sum + (row.bytes ?? 0) + (row.snapshotBytes ?? 0), 0);
  const snapshots = rows.reduce((sum, row) => sum + row.snapshots, 0);
  const size =
    known.length === 0
      ? "size unknown"
      : `${formatBytes(bytes)}${known.length < rows.length ? " or more" : ""}`;
  return `${rows.length} more on pool ${pool}: ${size}, ${snapshots} snapshots, nothing happens to them`;
}

function poolLine({ pool }: HostPlan): string {
  const size = pool.sizeBytes === null ? "" : `, ${formatBytes(pool.sizeBytes)}`;
  const free = pool.freeBytes === null ? "free space unknown" : `${formatBytes(pool.freeBytes)} free`;
  return `pool ${pool.name}: ${pool.driver ?? "none"}${size}, ${free}, mode ${pool.mode}`;
}

function actionLine(action: Action): string {
  const cost = action.cost ? ` (${describeCost(action.cost)}${spaceWords(action.cost)})` : "";
  return `${action.object}: ${action.kind}: ${action.reason}${cost}`;
}

function spaceWords({ spaceNeeded, spaceThere }: NonNullable<Action["cost"]>): string {
  if (spaceNeeded === null || spaceThere === null) return "";
  return `; needs ${formatBytes(spaceNeeded)} of ${formatBytes(spaceThere)}`;
}

/** `nothing to do`, or how much of what. */
function summary({ actions, refusals }: HostPlan): string {
  const errors = refusals.filter(({ severity }) => severity === "error").length;
  const held = refusals.length - errors;
  const parts = [
    actions.length === 0 ? "nothing to do" : `${actions.length} to do`,
    ...(held > 0 ? [`${held} waiting for an opt-in or a pool`] : []),
    ...(errors > 0 ? [`${errors} refused`] : []),
  ];
  return parts.join(", ");
}

function textHost(plan: HostPlan): string {
  if (plan.unreachable !== null) return `${plan.host}: not reached, left as it is\n  ${plan.unreachable}\n`;
  const { rows, groups } = rowsOf(plan);
  const lines = [`${plan.host}: ${summary(plan)}`, `  ${poolLine(plan)}`];
  if (rows.length > 0) lines.push(...table(rows.map(cells)).map((line) => `  ${line}`));
  lines.push(...groups.map((group) => `  ${group}`));
  for (const action of plan.actions) lines.push(...wrapped("+ ", actionLine(action)));
  for (const { severity, object, reason, remedy } of plan.refusals) {
    lines.push(...wrapped(severity === "error" ? "x " : "- ", `${object}: ${reason}. ${remedy}`));
  }
  for (const remark of plan.remarks) lines.push(...wrapped("i ", remark));
  return `${lines.join("\n")}\n`;
}

/** Columns as wide as they must be; the last one is cut to what is left of the width, for its text is told again below. */
function table(rows: string[][]): string[] {
  const all = [COLUMNS, ...rows];
  const widths = COLUMNS.map((_column, index) => Math.max(...all.map((row) => (row[index] ?? "").length)));
  return all.map((row) => {
    const line = row
      .map((cell, index) =>
        index === 3 || index === 4 ? cell.padStart(widths[index] ?? 0) : cell.padEnd(widths[index] ?? 0),
      )
      .join("  ")
      .trimEnd();
    return line.length <= WIDTH - 2 ? line : `${line.slice(0, WIDTH - 3)}…`;
  });
}

/** Text in lines of at most WIDTH columns, the first one marked. */
function wrapped(mark: string, text: string): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + word.length + 1 > WIDTH - 4) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines.map((one, index) => `  ${index === 0 ? mark : "  "}${one}`);
}

function markdownHost(plan: HostPlan): string {
  if (plan.unreachable !== null) {
    return `### ${escaped(plan.host)}: not reached, left as it is\n\n${escaped(plan.unreachable)}\n`;
  }
  const { rows, groups } = rowsOf(plan);
  const lines = [`### ${escaped(plan.host)}: ${summary(plan)}`, "", escaped(poolLine(plan)), ""];
  if (rows.length > 0) {
    lines.push(
      markdownRow(COLUMNS),
      markdownRow(COLUMNS.map(() => "---")),
      ...rows.map((row) => markdownRow(cells(row))),
      "",
    );
  }
  if (groups.length > 0) lines.push(...groups.map((group) => `- ${escaped(group)}`), "");
  const list = (title: string, entries: string[]): void => {
    if (entries.length > 0)
      lines.push(`**${title}**`, "", ...entries.map((entry) => `- ${escaped(entry)}`), "");
  };
  const sentence = ({ object, reason, remedy }: HostPlan["refusals"][number]): string =>
    `${object}: ${reason}. ${remedy}`;
  list("To do", plan.actions.map(actionLine));
  list("Refused", plan.refusals.filter(({ severity }) => severity === "error").map(sentence));
  list("Waiting", plan.refusals.filter(({ severity }) => severity === "held").map(sentence));
  list("Good to know", plan.remarks);
  return lines.join("\n");
}

function markdownRow(row: readonly string[]): string {
  return `| ${row.map(escaped).join(" | ")} |`;
}

/** Names come from the host: none of them may become markup, a link or a mention in a comment. */
function escaped(text: string): string {
  return text.replaceAll(/[\\`*_[\]<>|#@]/g, "\\$&").replaceAll(/[\r\n]+/g, " ");
}
