import { execa } from "execa";
import { VisibleError } from "../errors.ts";

/** Programs that a migration runs on the host, with the Debian package of each. */
const PROGRAMS = [
  ["rsync", "--version", "rsync"],
  ["setpriv", "--version", "util-linux"],
  ["find", "--version", "findutils"],
  ["lsattr", "-V", "e2fsprogs"],
  ["sync", "--version", "coreutils"],
] as const;

/** Refuses where a program is missing, before anything is written. @throws VisibleError that names the package */
export async function requireTools(): Promise<void> {
  for (const [program, flag, pack] of PROGRAMS) {
    const { code } = await execa(program, [flag], { reject: false, stdin: "ignore", timeout: 30_000 });
    if (code !== "ENOENT") continue;
    throw new VisibleError(
      `Refusing to migrate: ${program} is missing on this machine. Install package ${pack}, then run again.`,
    );
  }
}
