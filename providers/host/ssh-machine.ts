import { type CommandResult, SHORT, SYSTEM_PATH } from "../common/command.ts";
import { messageOf, UnreachableError } from "../common/errors.ts";
import type { SshConnection } from "../incus/ssh.ts";
import {
  commandFailure,
  deviceNumber,
  FILE_COMMANDS,
  type HostMachine,
  REMOVAL_DEADLINE,
} from "./machine.ts";

/** What timeout(1) ends with where the time was over. */
const TIMED_OUT = 124;
/** Milliseconds for the answer to come back beyond a command's own deadline. */
const ANSWER = 10_000;
/** Of a command that a signal ended ssh says what it says of a cut connection: 255, and nothing else. */
const EXITS = ["sh", "-c", '"$@"; exit "$?"', "sh"];
/** The shell's own: a program of this name is no part of every small system. */
const KILL = ["sh", "-c", 'kill -s "$1" "$2"', "kill"];

/**
 * A machine that is reached over ssh, as root: by the login itself, or by `sudo -n`. Undefined where the login can be
 * neither. Files never cross the link whole: small ones are read, everything else is done there.
 */
export async function openSshMachine(
  ssh: Pick<SshConnection, "run" | "asRoot">,
): Promise<HostMachine | undefined> {
  const root = await ssh.asRoot().catch(unreachable);
  if (!("prefix" in root)) return undefined;
  const reach: HostMachine["run"] = (argv, options) =>
    ssh.run(argv, options).catch((error: unknown) => {
      options.signal?.throwIfAborted();
      return unreachable(error);
    });
  return machineOver(reach, root.prefix);
}

function unreachable(error: unknown): never {
  throw new UnreachableError(`The host cannot be reached over ssh: ${messageOf(error)}.`, { cause: error });
}

function machineOver(reach: HostMachine["run"], sudo: readonly string[]): HostMachine {
  const run: HostMachine["run"] = async (argv, options) => {
    // A killed ssh does not end what it started: the deadline is held to there.
    const bounded = [...EXITS, "timeout", "--kill-after=5", String(options.timeout / 1000), ...argv];
    const environment = ["env", "LC_ALL=C", `PATH=${SYSTEM_PATH}`];
    const result = await reach([...sudo, ...environment, ...bounded], {
      ...options,
      timeout: options.timeout + ANSWER,
    });
    return { ...result, timedOut: result.timedOut || result.exitCode === TIMED_OUT };
  };
  const ask = (...argv: string[]): Promise<CommandResult> => run(argv, { timeout: SHORT });
  const succeeds = async (...argv: string[]): Promise<boolean> => (await ask(...argv)).exitCode === 0;
  const must = async (argv: string[], timeout = SHORT): Promise<string> => {
    const result = await run(argv, { timeout });
    if (result.exitCode !== 0) throw commandFailure(argv[0] ?? "", result);
    return result.stdout.toString();
  };
  return {
    run,
    async read(path) {
      const { exitCode, stdout } = await ask("cat", "--", path);
      return exitCode === 0 ? stdout.toString() : undefined;
    },
    async list(path) {
      // With the dot a file is refused, where find would else say that there is nothing below it.
      const here = ["-mindepth", "1", "-maxdepth", "1", "-printf", "%f\\0"];
      const result = await ask("find", `${path}/.`, ...here);
      if (result.exitCode !== 0 && !isAbsent(result)) throw commandFailure("find", result);
      return result.stdout.toString().split("\0").filter(Boolean);
    },
    async linkTarget(path) {
      const { exitCode, stdout } = await ask("readlink", "-n", "--", path);
      return exitCode === 0 ? stdout.toString() : undefined;
    },
    async exists(path) {
      const result = await ask("stat", "--dereference", "--format=", "--", path);
      if (result.exitCode !== 0 && !isAbsent(result)) throw commandFailure("stat", result);
      return result.exitCode === 0;
    },
    async executables(paths) {
      // What is missing among them makes find end with 1.
      const { stdout } = await ask(
        ...["find", "-L", ...paths, "-maxdepth", "0", "-type", "f", "-perm", "/111", "-printf", "%p\\0"],
      );
      return stdout.toString().split("\0").filter(Boolean);
    },
    async identify(path) {
      const text = await must(["stat", "--dereference", "--format=%f %s %d %i", "--", path]);
      const [mode = "0", bytes = "0", device = "0", inode = ""] = text.trim().split(" ");
      const isFile = (Number.parseInt(mode, 16) & 0o170000) === 0o100000;
      return { isFile, bytes: Number(bytes), device: deviceNumber(BigInt(device)), inode };
    },
    async freeBytes(path) {
      const [free = "0", size = "0"] = (await must(["stat", "--file-system", "--format=%a %S", "--", path]))
        .trim()
        .split(" ");
      return Number(free) * Number(size);
    },
    remove: async (path) => void (await must(FILE_COMMANDS.remove(path), REMOVAL_DEADLINE)),
    rename: async (from, to) => void (await must(FILE_COMMANDS.rename(from, to))),
    symlink: async (target, path) => void (await must(FILE_COMMANDS.symlink(target, path))),
    kill: (pid, signal) => succeeds(...KILL, String(signal).replace(/^SIG/, ""), String(pid)),
  };
}

/**
 * A command's own word that there is nothing at a path. Any other failure is none: of sudo, say, or of timeout, which
 * says the same words of a program that is not there and ends with 127.
 */
function isAbsent({ exitCode, stderr }: CommandResult): boolean {
  return exitCode === 1 && /: No such file or directory$/m.test(stderr);
}
