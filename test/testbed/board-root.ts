import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { withFileLock } from "./file-lock.ts";

/** Releases of Debian that a board can have. */
export type Release = "bookworm" | "trixie";

/** Change it when the roots get other content than before. */
const LAYOUT = "1";
const MIRROR = "http://deb.debian.org/debian";
/** What a board's image has beside Debian's smallest root: its login. */
const PACKAGES = "openssh-server,sudo";

/** Where roots and packages are kept for all runs on this machine. */
export function boardCache(): string {
  return join(process.env["XDG_CACHE_HOME"] ?? "/var/cache", "taos-hosts-test");
}

/** The root file system of a release, made by debootstrap the first time (about a minute); never write to it. */
export async function boardRoot(release: Release): Promise<string> {
  const dir = join(boardCache(), `board-${release}-${LAYOUT}`);
  if (existsSync(dir)) return dir;
  await withFileLock(`${dir}.lock`, async () => {
    if (existsSync(dir)) return;
    await mkdir(boardCache(), { recursive: true });
    const work = await mkdtemp(`${dir}.work-`);
    try {
      const options = ["--variant=minbase", `--include=${PACKAGES}`];
      await execa("debootstrap", [...options, release, join(work, "root"), MIRROR], {
        stdin: "ignore",
        timeout: 400_000,
      });
      await execa("chroot", [join(work, "root"), "apt-get", "clean"], { stdin: "ignore", timeout: 30_000 });
      await rename(join(work, "root"), dir);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  });
  return dir;
}
