import type { HostPlan } from "../plan/plan.ts";
import { actionLine, COLUMNS, launchLines, poolLine, refusalLine, rowsOf, summary } from "./lines.ts";

/** Width that the text report keeps to, in columns. */
const WIDTH = 120;

/** What becomes of one host, for a terminal. Ends with a newline. */
export function textHost(plan: HostPlan): string {
  if (plan.unreachable !== null) return `${plan.host}: ${summary(plan)}\n  ${plan.unreachable}\n`;
  const { rows, groups } = rowsOf(plan);
  const lines = [
    `${plan.host}: ${summary(plan)}`,
    `  ${poolLine(plan)}`,
    ...launchLines(plan)
      .flatMap((line) => wrap(line, WIDTH - 2))
      .map((part) => `  ${part}`),
    ...(rows.length > 0 ? table(rows).map((line) => `  ${line}`) : []),
    ...groups.flatMap((group) => marked("  ", group)),
    ...plan.actions.flatMap((action) => marked("+ ", actionLine(action))),
    ...plan.refusals.flatMap((one) => marked(one.severity === "error" ? "x " : "- ", refusalLine(one))),
    ...plan.remarks.flatMap((remark) => marked("i ", remark)),
  ];
  return `${lines.join("\n")}\n`;
}

/** Columns before the last, into which what happens and why it does not go together. */
const FIXED = COLUMNS.length - 2;
const HEAD = [...COLUMNS.slice(0, FIXED), "what would happen, or why nothing does"];
/** Columns of numbers. */
const RIGHT = [3, 4];
/** Longer names get a line of their own. */
const LONGEST_NAME = 44;

/** Columns as wide as they must be; the last one is wrapped. */
function table(rows: string[][]): string[] {
  const texts = rows.map((row) => {
    const [action = "", whyNot = ""] = row.slice(FIXED);
    return [...row.slice(0, FIXED), whyNot === "" ? action : `${action}: ${whyNot}`];
  });
  const widths = HEAD.slice(0, FIXED).map((_column, index) =>
    Math.max(
      ...[HEAD, ...texts]
        .map((row) => row[index]?.length ?? 0)
        .filter((length) => index > 0 || length <= LONGEST_NAME),
    ),
  );
  const indent = widths.reduce((sum, width) => sum + width + 2, 0);
  return [HEAD, ...texts].flatMap(([name = "", ...others]) => {
    const isLong = name.length > LONGEST_NAME;
    const left = [isLong ? "" : name, ...others.slice(0, -1)].map((cell, index) => {
      const width = widths[index] ?? 0;
      return RIGHT.includes(index) ? cell.padStart(width) : cell.padEnd(width);
    });
    const [first = "", ...more] = wrap(others.at(-1) ?? "", Math.max(30, WIDTH - 2 - indent));
    return [
      ...(isLong ? wrap(name, WIDTH - 2) : []),
      `${left.join("  ")}  ${first}`.trimEnd(),
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
export function marked(mark: string, text: string): string[] {
  return wrap(text, WIDTH - 4).map((line, index) => `  ${index === 0 ? mark : "  "}${line}`);
}
