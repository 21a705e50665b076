import { execa } from "execa";
import { VisibleError } from "../common/errors.ts";
import type { HostFiles } from "../host/files.ts";

/** Programs that a migration runs where the daemon's files are, with the Debian package of each. */
const PROGRAMS = [
  ["rsync", "--version", "rsync"],
  ["find", "--version", "findutils"],
  ["lsattr", "-V", "e2fsprogs"],
  ["sync", "--version", "coreutils"],
  ["du", "--version", "coreutils"],
] as const;
/** The same that run on this machine. */
const LOCAL_PROGRAMS = [
  ["setpriv", "--version", "util-linux"],
  ["nsenter", "--version", "util-linux"],
] as const;

/** Refuses where a program is missing, before anything is written. @throws VisibleError that names the package */
export async function requireTools(files: Pick<HostFiles, "command">): Promise<void> {
  for (const [program, flag, pack] of LOCAL_PROGRAMS) {
    if (!(await runs(program, [flag]))) throw missing(program, pack, "on this machine");
  }
  for (const [program, flag, pack] of PROGRAMS) {
    if (!(await runs(...files.command(program, flag)))) throw missing(program, pack, "where incusd runs");
  }
}

/** What a shell, and nsenter, end with where there is no such program. */
const NOT_FOUND = 127;

async function runs(file: string, args: string[]): Promise<boolean> {
  const options = { reject: false, stdin: "ignore", timeout: 30_000 } as const;
  const { code, exitCode } = await execa(file, args, options);
  return code !== "ENOENT" && exitCode !== NOT_FOUND;
}

function missing(program: string, pack: string, where: string): VisibleError {
  return new VisibleError(
    `Refusing to migrate: ${program} is missing ${where}. Install package ${pack} there, then run again.`,
  );
}
