import type { EventLog, Step } from "./event-log.ts";

/**
 * What is on a host already, its preparation too, and is only recorded by a first run, or forgotten by a last one: that changes nothing
 * there, so the plan is silent about it. What it does change, the plan says by actions of its own.
 */
const RECORDED = ["StoragePool", "Network", "ProfileDevices", "WarmImage", "InstancePlacement", "Command"];
/** Operations that change nothing. */
const QUIET = ["same", "refresh", "read"];

/** What the plan says of one host, in the first line of its report. */
type Said = { host: string; toDo: number; refused: number; isReached: boolean };

/**
 * Where the plan's report of a run contradicts the steps of the same run; empty where they agree. The report is the
 * one that the program itself made, so nothing is asked of the host for this. A run without a report (the config was
 * refused, or a report of its preview stands for it) is judged by what it printed.
 */
export function disagreements(run: EventLog & { output: string; exitCode: number | undefined }): string[] {
  const report = run.diagnostics.map(({ message }) => message).find(isReport) ?? run.output;
  const said = saidOf(report);
  const unsaid = new Set(
    run.steps
      .map(({ name }) => name.slice(0, Math.max(0, name.indexOf("/"))))
      .filter((host) => host !== "" && said.every((one) => one.host !== host)),
  );
  if (run.exitCode === 0 && unsaid.size > 0)
    return [`${[...unsaid].join(", ")}: Pulumi has steps, and no report says what happens there`];
  return said.flatMap(({ host, toDo, refused, isReached }) => {
    const steps = run.steps.filter(({ name, op }) => name.startsWith(`${host}/`) && !QUIET.includes(op));
    const changes = steps.filter((step) => !isRecorded(step));
    // Where something is refused nothing is done, and what is to do is still to do.
    if (refused > 0 || !isReached) return [];
    if (toDo === 0 && changes.length > 0)
      return [`${host}: the plan says "nothing to do", Pulumi has ${changes.map(namesAndOp).join(", ")}`];
    if (toDo > 0 && steps.length === 0 && run.exitCode === 0)
      return [`${host}: the plan says ${toDo} to do, Pulumi has no change`];
    return [];
  });
}

const isReport = (message: string): boolean =>
  /^What (would happen|happens)(, as previewed)?:\n/.test(message);

const isRecorded = ({ op, type }: Step): boolean =>
  ["create", "delete"].includes(op) && RECORDED.includes(type);

const namesAndOp = ({ name, op }: Step): string => `${name} ${op}`;

/** First lines of hosts: `board: 2 to do, 1 refused`. Further lines of a host are indented deeper. */
function saidOf(report: string): Said[] {
  const lines =
    /What (?:would happen|happens)(?:, as previewed)?:\n([\s\S]*)/.exec(report)?.[1]?.split("\n") ?? [];
  const indent = /^ */.exec(lines[0] ?? "")?.[0] ?? "";
  return lines.flatMap((line) => {
    const found = new RegExp(
      `^${indent}(\\S+): (nothing to do|\\d+ to do|\\d+ refused|\\d+ waiting|not reached)(.*)$`,
    ).exec(line);
    if (!found) return [];
    const [, host = "", first = "", rest = ""] = found;
    const number = (word: string): number =>
      Number(new RegExp(`(\\d+) ${word}`).exec(first + rest)?.[1] ?? 0);
    return [
      {
        host,
        toDo: number("to do"),
        refused: number("refused"),
        isReached: !first.startsWith("not reached"),
      },
    ];
  });
}
