import type { Readable } from "node:stream";

/** How a command is run. */
export interface CommandOptions {
  /** Milliseconds. */
  timeout: number;
  signal?: AbortSignal | undefined;
  input?: Buffer | undefined;
  /** Standard input that goes on while it runs, instead of `input`. */
  stream?: Readable | undefined;
  /** Gets what it prints, as it comes. */
  onOutput?: ((text: string) => void) | undefined;
  /** It writes what only this run may write: where a run can lose that right, it ends with it. @default false */
  writes?: boolean;
}

/** What a command came to. */
export interface CommandResult {
  /** {@link NOT_FOUND} where there is no such program; -1 where it was killed. */
  exitCode: number;
  stdout: Buffer;
  stderr: string;
  timedOut: boolean;
}

/** What a shell, nsenter, and every machine here end with where there is no such program. */
export const NOT_FOUND = 127;

/** Milliseconds for a command that answers at once. */
export const SHORT = 10_000;

/** Where system programs are, also where the PATH of a login or of this process lacks them. */
export const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
