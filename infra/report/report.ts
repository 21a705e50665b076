import { formatBytes } from "@taos-hosts/providers";
import { describeCost } from "../plan/cost.ts";
import type { Action, ContainerRow, HostPlan, Plan } from "../plan/plan.ts";

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

/** A line for each host: how much would be done, or is. Ends with a newline. */
export function summaries(plan: Plan): string {
  const lines = plan.hosts.map((host) =>
    host.unreachable === null ? `${host.host}: ${summary(host)}` : `${host.host}: not reached, left as it is`,
  );
  return `${lines.join("\n")}\n`;
}

const COLUMNS = ["container", "pool", "prot.", "size", "snap.", "what would happen", "why not"];

/** Cells of one row. */
function cells(row: ContainerRow): string[] {
  const state = row.status === "Running" ? "" : ` (${row.status.toLowerCase()})`;
  const total = row.bytes === null ? "-" : formatBytes(row.bytes + (row.snapshotBytes ?? 0));
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

/** Where `incus launch` goes, a line for each project. */
function launchLines({ launches }: HostPlan): string[] {
  return launches.map(({ project, pool, driver, networks }) => {
    const where =
      pool === null ? "no pool (name one with --storage)" : `pool ${pool} (${driver ?? "unknown"})`;
    const net = networks.length === 0 ? "no network" : `network ${networks.join(", ")}`;
    const scope = project === "default" ? "" : ` in project ${project}`;
    return `launches${scope} go to ${where}, ${net}, by the default profile`;
  });
}

function actionLine(action: Action): string {
  const cost = action.cost ? ` (${describeCost(action.cost)}${spaceWords(action.cost)})` : "";
  return `${action.object}: ${action.kind}: ${action.reason}${cost}`;
}

function spaceWords({ spaceNeeded, sharesImage, spaceThere }: NonNullable<Action["cost"]>): string {
  if (spaceNeeded === null || spaceThere === null) return "";
  return `; needs ${sharesImage ? "at most " : ""}${formatBytes(spaceNeeded)} of ${formatBytes(spaceThere)}`;
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
  const lines = [
    `${plan.host}: ${summary(plan)}`,
    `  ${poolLine(plan)}`,
    ...launchLines(plan).flatMap((line) => wrap(line, WIDTH - 2).map((part) => `  ${part}`)),
  ];
  if (rows.length > 0) lines.push(...table(rows.map(cells)).map((line) => `  ${line}`));
  for (const group of groups) lines.push(...marked("  ", group));
  for (const action of plan.actions) lines.push(...marked("+ ", actionLine(action)));
  for (const { severity, object, reason, remedy } of plan.refusals) {
    lines.push(...marked(severity === "error" ? "x " : "- ", `${object}: ${reason}. ${remedy}`));
  }
  for (const remark of plan.remarks) lines.push(...marked("i ", remark));
  return `${lines.join("\n")}\n`;
}

const TEXT_COLUMNS = [
  "container",
  "pool",
  "prot.",
  "size",
  "snap.",
  "what would happen, or why nothing does",
];
/** Columns of numbers. */
const RIGHT = [3, 4];
/** Longer names get a line of their own. */
const LONGEST_NAME = 44;

/** Columns as wide as they must be; the last one is wrapped. */
function table(rows: string[][]): string[] {
  const texts = rows.map(([...cell]) => {
    const whyNot = cell.pop() ?? "";
    const action = cell.pop() ?? "";
    return [...cell, whyNot === "" ? action : `${action}: ${whyNot}`];
  });
  const last = TEXT_COLUMNS.length - 1;
  const fixed = [TEXT_COLUMNS, ...texts].map((row) => row.slice(0, last));
  const widths = TEXT_COLUMNS.slice(0, last).map((_column, index) =>
    Math.max(
      ...fixed
        .map((row) => row[index] ?? "")
        .filter((cell) => index > 0 || cell.length <= LONGEST_NAME)
        .map(({ length }) => length),
    ),
  );
  const indent = widths.reduce((sum, width) => sum + width + 2, 0);
  return [TEXT_COLUMNS, ...texts].flatMap((row) => {
    const [name = "", ...others] = row.slice(0, last);
    const isLong = name.length > LONGEST_NAME;
    const left = [isLong ? "" : name, ...others].map((cell, index) => {
      const width = widths[index] ?? 0;
      return RIGHT.includes(index) ? cell.padStart(width) : cell.padEnd(width);
    });
    const [first = "", ...more] = wrap(row[last] ?? "", Math.max(30, WIDTH - 2 - indent));
    const line = `${left.join("  ")}  ${first}`.trimEnd();
    return [
      ...(isLong ? wrap(name, WIDTH - 2) : []),
      line,
      ...more.map((text) => `${" ".repeat(indent)}${text}`),
    ];
  });
}

/** Text in lines of at most `width` columns, broken at spaces, or anywhere in a longer word. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ").flatMap((one) => one.match(new RegExp(`.{1,${width}}`, "g")) ?? [""])) {
    if (line !== "" && line.length + word.length + 1 > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** Text with a mark before its first line. */
function marked(mark: string, text: string): string[] {
  return wrap(text, WIDTH - 4).map((line, index) => `  ${index === 0 ? mark : "  "}${line}`);
}

function markdownHost(plan: HostPlan): string {
  if (plan.unreachable !== null) {
    return `### ${escaped(plan.host)}: not reached, left as it is\n\n${escaped(plan.unreachable)}\n`;
  }
  const { rows, groups } = rowsOf(plan);
  const lines = [`### ${escaped(plan.host)}: ${summary(plan)}`, "", escaped(poolLine(plan)), ""];
  for (const line of launchLines(plan)) lines.push(escaped(line), "");
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
