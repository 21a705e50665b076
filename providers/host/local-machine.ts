import { constants } from "node:fs";
import { access, readdir, readFile, readlink, rename, rm, stat, statfs, symlink } from "node:fs/promises";
import { execa } from "execa";
import { type CommandOptions, type CommandResult, NOT_FOUND, SYSTEM_PATH } from "../common/command.ts";
import { deviceNumber, type HostMachine } from "./machine.ts";

/** The machine that this process runs on, with its rights. */
export const localMachine: HostMachine = {
  run,
  read: (path) => readFile(path, "utf8").catch(() => undefined),
  list: (path) => readdir(path).catch(noneWhereAbsent),
  linkTarget: (path) => readlink(path).catch(() => undefined),
  exists: (path) => isAccessible(path, constants.F_OK),
  async executables(paths) {
    const answers = await Promise.all(paths.map((path) => isAccessible(path, constants.X_OK)));
    return paths.filter((_path, index) => answers[index]);
  },
  async identify(path) {
    const found = await stat(path, { bigint: true });
    return {
      isFile: found.isFile(),
      bytes: Number(found.size),
      device: deviceNumber(found.dev),
      inode: String(found.ino),
    };
  },
  async freeBytes(path) {
    const stats = await statfs(path);
    return stats.bavail * stats.bsize;
  },
  remove: (path) => rm(path, { recursive: true, force: true }),
  rename: (from, to) => rename(from, to),
  symlink: (target, path) => symlink(target, path),
  async kill(pid, signal) {
    // Where /proc is of another pid namespace than ours, its numbers are other processes here.
    if ((await readlink("/proc/self").catch(() => "")) !== String(process.pid)) return false;
    try {
      return process.kill(pid, signal);
    } catch {
      return false;
    }
  },
};

async function run(argv: readonly string[], options: CommandOptions): Promise<CommandResult> {
  const [file = "", ...args] = argv;
  const input = options.stream ?? options.input;
  const subprocess = execa(file, args, {
    ...(input ? { input } : { stdin: "ignore" }),
    encoding: "buffer",
    stripFinalNewline: false,
    env: { LC_ALL: "C", PATH: `${process.env["PATH"] ?? ""}:${SYSTEM_PATH}` },
    reject: false,
    timeout: options.timeout,
    maxBuffer: 256 * 1024 * 1024,
    ...(options.signal ? { cancelSignal: options.signal } : {}),
  });
  subprocess.stdout?.on("data", (chunk: Buffer) => options.onOutput?.(chunk.toString()));
  const result = await subprocess;
  options.signal?.throwIfAborted();
  return {
    exitCode: result.code === "ENOENT" ? NOT_FOUND : (result.exitCode ?? -1),
    stdout: Buffer.from(result.stdout ?? []),
    stderr: Buffer.from(result.stderr ?? []).toString(),
    timedOut: result.timedOut,
  };
}

async function isAccessible(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

/** Only an absent directory is an empty one: what cannot be read may hold anything. */
function noneWhereAbsent(error: NodeJS.ErrnoException): string[] {
  if (error.code === "ENOENT") return [];
  throw error;
}
