import { readFile } from "node:fs/promises";

/** What was done, or would be done, to one resource. */
export type Step = {
  /** `create`, `same`, `update`, `delete`, `refresh`, … as Pulumi names it. */
  op: string;
  /** Such as `Instance`: the last part of the type. */
  type: string;
  /** Such as `orange-1/taos-agent-iris`: the last part of the URN. */
  name: string;
  urn: string;
  failed: boolean;
};

/** A message of the engine, the program or a provider, without colour codes. */
export type Diagnostic = { severity: string; message: string; urn: string };

/** What one command did, from the CLI's own event log. */
export type EventLog = {
  /** Finished steps on the stack's own resources, in order; no stack, component or provider. */
  steps: Step[];
  diagnostics: Diagnostic[];
  /** Number of resources by operation; undefined where the command ended before its summary. */
  changes: Record<string, number> | undefined;
  /**
   * The events as written, without the first one, in which the CLI repeats the config it was given, and without what
   * only --debug shows: Pulumi's own messages hold all properties.
   */
  text: string;
};

type StepMetadata = { op: string; urn: string; type: string };

type EngineEvent = {
  diagnosticEvent?: { severity: string; message: string; urn?: string; ephemeral?: boolean };
  resourcePreEvent?: { metadata: StepMetadata; planning?: boolean };
  resOutputsEvent?: { metadata: StepMetadata; planning?: boolean };
  resOpFailedEvent?: { metadata: StepMetadata };
  summaryEvent?: { resourceChanges: Record<string, number> };
};

/** Reads the log that `--event-log` wrote; an absent file (the CLI refused before any work) is an empty log. */
export async function readEventLog(file: string): Promise<EventLog> {
  const text = await readFile(file, "utf8").catch(() => "");
  // A killed CLI leaves half a line.
  const lines = text.split("\n").filter((line) => line.endsWith("}"));
  const events = lines.flatMap((line) => parse(line));
  // "up" with its preview writes both; what was done is what counts.
  const isDone = (event: EngineEvent): boolean => planning(event) === false;
  const counted = events.some(isDone) ? events.filter((event) => planning(event) !== true) : events;
  const changes = events.findLast(({ summaryEvent }) => summaryEvent)?.summaryEvent?.resourceChanges;
  return {
    steps: counted.flatMap(stepOf),
    diagnostics: events.flatMap(({ diagnosticEvent }) =>
      diagnosticEvent && diagnosticEvent.severity !== "debug"
        ? [
            {
              severity: diagnosticEvent.severity,
              message: diagnosticEvent.message.replaceAll(/<\{%.*?%\}>/g, ""),
              urn: diagnosticEvent.urn ?? "",
            },
          ]
        : [],
    ),
    changes,
    text: lines.filter((line) => !/"preludeEvent":|"severity":"debug"/.test(line)).join("\n"),
  };
}

function planning({ resourcePreEvent, resOutputsEvent }: EngineEvent): boolean | undefined {
  return (
    (resOutputsEvent ?? resourcePreEvent)?.planning ??
    (resOutputsEvent || resourcePreEvent ? false : undefined)
  );
}

function parse(line: string): EngineEvent[] {
  try {
    return [JSON.parse(line) as EngineEvent];
  } catch {
    return [];
  }
}

function stepOf(event: EngineEvent): Step[] {
  const metadata = event.resOutputsEvent?.metadata ?? event.resOpFailedEvent?.metadata;
  if (!metadata || !/^(pulumi-nodejs:dynamic\/|command:local:)/.test(metadata.type)) return [];
  const { op, urn } = metadata;
  const failed = event.resOpFailedEvent !== undefined;
  return [
    { op, urn, failed, type: metadata.type.split(":").at(-1) ?? "", name: urn.split("::").at(-1) ?? "" },
  ];
}
