import { NOT_FOUND } from "../common/command.ts";
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
/** The same outside its mount namespace. */
const MACHINE_PROGRAMS = [
  ["setsid", "--version", "util-linux"],
  ["timeout", "--version", "coreutils"],
  ["nsenter", "--version", "util-linux"],
] as const;

/** Refuses where a program is missing, before anything is written. @throws VisibleError that names the package */
export async function requireTools(files: Pick<HostFiles, "run" | "machine">): Promise<void> {
  const isMissing = async (
    on: Pick<HostFiles, "run">,
    [program, flag]: readonly [string, string, string],
  ): Promise<boolean> => (await on.run([program, flag], { timeout: 30_000 })).exitCode === NOT_FOUND;
  for (const tool of MACHINE_PROGRAMS)
    if (await isMissing(files.machine, tool)) throw missing(tool[0], tool[2], "on the host");
  for (const tool of PROGRAMS)
    if (await isMissing(files, tool)) throw missing(tool[0], tool[2], "where incusd runs");
}

function missing(program: string, pack: string, where: string): VisibleError {
  return new VisibleError(
    `Refusing to migrate: ${program} is missing ${where}. Install package ${pack} there, then run again.`,
  );
}
