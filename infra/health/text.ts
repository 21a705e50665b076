import { marked } from "../report/text.ts";
import type { HostHealth } from "./examine.ts";
import type { Severity } from "./finding.ts";

const MARKS: Readonly<Record<Severity, string>> = { error: "x ", warning: "! ", note: "i " };

/** A host's health for a terminal. Ends with a newline. */
export function textHealth(health: HostHealth): string {
  if (health.unreachable !== null) return `${health.host}: not reached\n  ${health.unreachable}\n`;
  const lines = [
    `${health.host}: ${summary(health)}`,
    `  Incus ${health.incus}, kernel ${health.kernel}, clock ${health.clockAhead} s ahead`,
    ...health.findings.flatMap(({ severity, object, what, mend }) => [
      ...marked(MARKS[severity], `${object}: ${what}`),
      ...marked("  ", mend),
    ]),
    ...health.notLookedAt.flatMap(({ object, why }) => marked("? ", `${object}: not looked at: ${why}`)),
  ];
  return `${lines.join("\n")}\n`;
}

function summary({ findings, notLookedAt }: HostHealth): string {
  const count = (severity: Severity): number => findings.filter((one) => one.severity === severity).length;
  const counted = (number: number, what: string): string[] =>
    number === 0 ? [] : [`${number} ${what}${number === 1 ? "" : "s"}`];
  const bad = [...counted(count("error"), "error"), ...counted(count("warning"), "warning")];
  const unseen = notLookedAt.length === 0 ? [] : [`${notLookedAt.length} not looked at`];
  const good = unseen.length === 0 ? "healthy" : "nothing found in what was looked at";
  return [...(bad.length === 0 ? [good] : bad), ...counted(count("note"), "note"), ...unseen].join(", ");
}
