import type { CommandOptions, CommandResult } from "../common/command.ts";
import { VisibleError } from "../common/errors.ts";

/** A file as stat(2) has it. */
export interface FileIdentity {
  isFile: boolean;
  bytes: number;
  /** `major:minor` of the device that it is on. */
  device: string;
  inode: string;
}

/**
 * Commands and files of a host's machine, as root there: the one way in which anything but Incus itself is reached.
 * Another way to a host is another implementation of this. Paths are absolute, as the machine itself sees them.
 */
export interface HostMachine {
  /** Runs a program, never a shell. @throws the signal's reason */
  run(argv: readonly string[], options: CommandOptions): Promise<CommandResult>;
  /** Text of a file; undefined where there is none, or it cannot be read. */
  read(path: string): Promise<string | undefined>;
  /**
   * Names in a directory; none where it does not exist.
   * @throws where it is no directory or cannot be read: what is not known to be empty may hold anything
   */
  list(path: string): Promise<string[]>;
  /** What a symbolic link says; undefined where there is none. */
  linkTarget(path: string): Promise<string | undefined>;
  /** Links are followed. */
  exists(path: string): Promise<boolean>;
  /** Those of the paths at which there is a program; links are followed. */
  executables(paths: readonly string[]): Promise<string[]>;
  /** Links are followed. @throws where there is no such file */
  identify(path: string): Promise<FileIdentity>;
  /** Bytes that are free on the file system of a path. */
  freeBytes(path: string): Promise<number>;
  /** Deletes a file, a link, or a directory with all that is in it; nothing where there is none. */
  remove(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  symlink(target: string, path: string): Promise<void>;
  /** Sends a signal by name or number. False where the process has ended, or its number may mean another one here. */
  kill(pid: number, signal: string | number): Promise<boolean>;
}

/** `major:minor` of a device number in the layout of stat(2). */
export function deviceNumber(dev: bigint): string {
  return `${(dev >> 8n) & 0xfffn}:${(dev & 0xffn) | ((dev >> 12n) & 0xffffff00n)}`;
}

/** Milliseconds to delete a directory with all that is in it. */
export const REMOVAL_DEADLINE = 120_000;

/** What changes files, as commands: where no other way leads to a machine, and under a watchdog. */
export const FILE_COMMANDS = {
  remove: (path: string): string[] => ["rm", "-rf", "--", path],
  rename: (from: string, to: string): string[] => ["mv", "--no-target-directory", "--", from, to],
  symlink: (target: string, path: string): string[] => [
    ...["ln", "--symbolic", "--no-target-directory", "--", target, path],
  ],
} as const;

/** Why a command on the host failed, by its own first words. */
export function commandFailure(program: string, { exitCode, stderr }: CommandResult): VisibleError {
  const [line = ""] = stderr.trim().split("\n");
  return new VisibleError(`${program} on the host ended with ${exitCode}: ${line.slice(0, 300)}.`);
}
