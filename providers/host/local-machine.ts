import { constants } from "node:fs";
import { access, readdir, readFile, readlink, rename, rm, stat, statfs, symlink } from "node:fs/promises";
import { execa } from "execa";
import { type CommandOptions, type CommandResult, type HostMachine, NOT_FOUND } from "./machine.ts";

/** Where system programs are, also where the caller's PATH lacks them. */
export const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The machine that this process runs on, with its rights. */
export const localMachine: HostMachine = {
  run,
  read: (path) => readFile(path, "utf8").catch(() => undefined),
  list: (path) => readdir(path).catch(noneWhereAbsent),
  linkTarget: (path) => readlink(path).catch(() => undefined),
  exists: (path) => isAccessible(path, constants.F_OK),
  isExecutable: (path) => isAccessible(path, constants.X_OK),
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
  const [file = "", ...args] = options.diesWithUs ? ["setpriv", "--pdeathsig", "KILL", "--", ...argv] : argv;
  const subprocess = execa(file, args, {
    ...(options.input ? { input: options.input } : { stdin: "ignore" }),
    encoding: "buffer",
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

/** `major:minor` of a device number in the layout of stat(2). */
function deviceNumber(dev: bigint): string {
  return `${(dev >> 8n) & 0xfffn}:${(dev & 0xffn) | ((dev >> 12n) & 0xffffff00n)}`;
}
