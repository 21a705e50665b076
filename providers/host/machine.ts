/** How a command is run. */
export interface CommandOptions {
  /** Milliseconds. */
  timeout: number;
  signal?: AbortSignal | undefined;
  input?: Buffer | undefined;
  /** Gets what it prints, as it comes. */
  onOutput?: ((text: string) => void) | undefined;
  /** It writes what nobody may write once this process is dead: it is killed with it. @default false */
  diesWithUs?: boolean;
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
  /** Names in a directory; none where it does not exist. @throws where it cannot be read */
  list(path: string): Promise<string[]>;
  /** What a symbolic link says; undefined where there is none. */
  linkTarget(path: string): Promise<string | undefined>;
  /** Links are followed. */
  exists(path: string): Promise<boolean>;
  isExecutable(path: string): Promise<boolean>;
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

/** Milliseconds for a command that answers at once. */
export const SHORT = 10_000;
