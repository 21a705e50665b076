import { report } from "../report/report.ts";
import type { HostResult, Outcome } from "./outcome.ts";

/** What a command came to, for programs. The shape is documented in docs/fleet.md and only grows. */
export interface FleetOutput {
  version: 1;
  command: string;
  exitCode: number;
  /** Hosts by outcome; outcomes without any are left out. */
  counts: Partial<Record<Outcome, number>>;
  hosts: HostResult[];
}

export function fleetOutput(command: string, exitCode: number, hosts: HostResult[]): FleetOutput {
  const counts: Partial<Record<Outcome, number>> = {};
  for (const { outcome } of hosts) counts[outcome] = (counts[outcome] ?? 0) + 1;
  return { version: 1, command, exitCode, counts, hosts };
}

/** A table of all hosts and a line that sums them up; for `look` and `preview` also the plans of those that would change. Ends with a newline. */
export function textOutput({ command, counts, hosts }: FleetOutput): string {
  const plans = hosts.flatMap(({ plan, outcome }) =>
    (command === "look" || command === "preview") &&
    plan &&
    outcome !== "unchanged" &&
    outcome !== "unreachable"
      ? [report({ hosts: [plan] }, "text"), ""]
      : [],
  );
  const rows = hosts.map((one) => [one.host, String(one.wave), one.outcome, note(one)]);
  const table = [["host", "wave", "outcome", "why"], ...rows];
  const widths = [0, 1, 2].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  const lines = table.map((row) =>
    row
      .map((cell, column) => (column < 3 ? cell.padEnd(widths[column] ?? 0) : cell))
      .join("  ")
      .trimEnd(),
  );
  const sum = Object.entries(counts).map(([outcome, count]) => `${count} ${outcome}`);
  return `${[...plans, ...lines, "", `${hosts.length} hosts: ${sum.join(", ")}`].join("\n")}\n`;
}

function note({ reason, paused, outcome, log }: HostResult): string {
  const hold = paused === null || outcome === "paused" ? "" : `; paused: ${paused}`;
  const more = outcome === "failed" && log !== null ? `; its output: ${log}` : "";
  return `${reason.replaceAll(/\s+/g, " ")}${hold}${more}`;
}
