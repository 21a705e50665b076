import { passWave } from "./between-waves.ts";
import type { Fleet, FleetHost } from "./fleet-file.ts";
import type { FleetState } from "./fleet-state.ts";
import { type HostRunOptions, runHost } from "./host-run.ts";
import type { HostResult } from "./outcome.ts";
import { rollOut } from "./roll-out.ts";

/** Commands that have a result for each host. */
export const FLEET_COMMANDS = ["look", "preview", "up", "drift", "status"] as const;
export type FleetCommand = (typeof FLEET_COMMANDS)[number];

export interface PerformOptions extends Omit<HostRunOptions, "command" | "state"> {
  state: FleetState;
  /** Hosts that the command is about. */
  selected: readonly FleetHost[];
  waves: Fleet["waves"];
}

/** Carries out a command. @returns a result for each selected host, in the order of the file */
export async function perform(command: FleetCommand, options: PerformOptions): Promise<HostResult[]> {
  const { state, selected, signals } = options;
  await state.readRecords(selected);
  if (command === "status") return selected.map((host) => state.recorded(host));
  await Promise.all(selected.map((host) => state.look(host)));
  if (signals.stop.aborted)
    return selected.map((host) => state.result(host, "interrupted", "stopped while it was looked at"));
  if (command === "look" || command === "drift") return selected.map((host) => state.seen(host, command));

  const idle = selected.flatMap((host) => withoutRun(host, command, options));
  const busy = selected.filter(({ name }) => !idle.some(({ host }) => host === name));
  for (const result of idle) options.progress.end(result);
  const ran =
    command === "up"
      ? await upInWaves(busy, options)
      : await Promise.all(
          busy.map((host) => runHost(host, { ...options, command }, () => isStopped(options))),
        );
  const results = new Map([...idle, ...ran].map((result) => [result.host, result]));
  return selected.flatMap((host) => results.get(host.name) ?? []);
}

/** The result of a host for which nothing is begun, whatever comes. */
function withoutRun(
  host: FleetHost,
  command: "preview" | "up",
  { state, full }: PerformOptions,
): HostResult[] {
  const { need } = state.knownOf(host);
  if (command === "up" && host.paused !== null)
    return [state.result(host, "paused", `${host.paused}; ${need.reason}`)];
  if (need.kind !== "nothing" || full) return [];
  return [state.result(host, "unchanged", `${need.reason}; Pulumi was not started`)];
}

function upInWaves(busy: readonly FleetHost[], options: PerformOptions): Promise<HostResult[]> {
  const { state, waves, signals, progress } = options;
  const hosts = new Map(busy.map((host) => [host.name, host]));
  const hostOf = (name: string): FleetHost => {
    const host = hosts.get(name);
    if (!host) throw new Error(`${name} has nothing to do`);
    return host;
  };
  return rollOut(
    waves,
    {
      needsRun: (name) => hosts.has(name),
      run: (name, isHeld) => runHost(hostOf(name), { ...options, command: "up" }, isHeld),
      pass: (wave, number) =>
        passWave(wave, number, {
          done: state.doneAt(wave.hosts),
          signal: signals.stop,
          note: (text) => progress.note(text),
        }),
      untouched: (name, reason) => state.result(hostOf(name), "untouched", reason),
    },
    () => isStopped(options),
  );
}

function isStopped({ signals }: PerformOptions): string | undefined {
  return signals.stop.aborted ? "stopped before its turn" : undefined;
}
