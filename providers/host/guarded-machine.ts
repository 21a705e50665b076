import { PassThrough } from "node:stream";
import { type CommandOptions, type CommandResult, SHORT } from "../common/command.ts";
import { commandFailure, FILE_COMMANDS, type HostMachine, REMOVAL_DEADLINE } from "./machine.ts";
import { BEAT, begin, READY, SIGN, watched } from "./watchdog.ts";

/** Milliseconds for a writer that was told to stop, and its watchdog, to be gone. */
const GRACE = 20_000;

/** The right of a run to write, which it may lose to another one. */
export interface WriteGuard {
  /** Of this run's writers: `<what it works on>.<run>`, so that another run finds what this one left. */
  readonly id: string;
  /** Proves that the right is still held. @throws where it is lost, or cannot be told */
  prove(): Promise<void>;
}

/**
 * A machine for a run that may lose its right to write. Whatever writes runs under a watchdog there, which ends it with
 * all its children once this process is silent for 12 s, and begins only after the right was proved while the watchdog
 * already waited: whoever takes over finds and ends it, at whatever moment this process was frozen.
 */
export function guardedMachine(machine: HostMachine, guard: WriteGuard): HostMachine {
  const run: HostMachine["run"] = (argv, options) =>
    options.writes ? runWatched(machine, guard, argv, options) : machine.run(argv, options);
  const must = async (argv: readonly string[], timeout = SHORT): Promise<void> => {
    const result = await run(argv, { timeout, writes: true });
    if (result.exitCode !== 0) throw commandFailure(argv[0] ?? "", result);
  };
  return {
    ...machine,
    run,
    remove: (path) => must(FILE_COMMANDS.remove(path), REMOVAL_DEADLINE),
    rename: (from, to) => must(FILE_COMMANDS.rename(from, to)),
    symlink: (target, path) => must(FILE_COMMANDS.symlink(target, path)),
  };
}

async function runWatched(
  machine: HostMachine,
  guard: WriteGuard,
  argv: readonly string[],
  { input = Buffer.alloc(0), signal, timeout, onOutput, ...options }: CommandOptions,
): Promise<CommandResult> {
  signal?.throwIfAborted();
  const signs = new PassThrough();
  const beat = setInterval(() => signs.write(SIGN), BEAT);
  // Ends the writer; its watchdog ends after it.
  const stop = (): void => {
    clearInterval(beat);
    signs.end();
  };
  let isReady = false;
  let refusal: Error | undefined;
  const proceed = (): void => {
    if (signs.writable) signs.write(begin(input));
  };
  const refuse = (error: Error): void => {
    refusal = error;
    stop();
  };
  const hear = (text: string): void => {
    if (isReady) {
      onOutput?.(text);
      return;
    }
    isReady = true;
    void guard.prove().then(proceed, refuse);
  };
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    stop();
  }, timeout);
  signal?.addEventListener("abort", stop);
  try {
    const watching = { ...options, timeout: timeout + GRACE, stream: signs, onOutput: hear };
    const result = await machine.run(watched(guard.id, argv), watching);
    if (refusal) throw refusal;
    signal?.throwIfAborted();
    // A process that was frozen finds its writers ended: whether it may go on counts for more than what they said.
    if (result.exitCode !== 0) await guard.prove();
    return { ...result, stdout: result.stdout.subarray(READY.length), timedOut: timedOut || result.timedOut };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
    stop();
  }
}
