import { readFile, rm, stat } from "node:fs/promises";
import { execa } from "execa";
import { until } from "./deadline.ts";
import { removeNetwork } from "./network.ts";
import type { DaemonPaths } from "./paths.ts";
import { killDaemonProcesses } from "./processes.ts";
import { removeUuidLinks } from "./uuid-links.ts";

/** Removes all that a daemon of these paths left, in whatever state a killed run left it. */
export async function removeLeftovers(paths: DaemonPaths): Promise<void> {
  await removeState(paths);
  await removeNetwork(paths);
  await rm(paths.runDir, { recursive: true, force: true });
}

/** Ends every process of the daemon and deletes its directories with mounts and loop devices; the log stays. */
export async function removeState(paths: DaemonPaths): Promise<void> {
  await killDaemonProcesses(paths.dir, paths.netnsFile);
  // A pool may be a bind mount of something in the data directory, so its own directory goes first.
  for (const dir of [paths.dir, paths.dataDir]) {
    await unmountBelow(dir);
    await detachLoops(dir);
  }
  for (const dir of [paths.dir, paths.dataDir]) {
    await until(() => removeTree(dir), { what: `${dir} to be deleted` });
  }
}

/** Mount points at or below `dir`, deepest and latest first. */
export async function mountsBelow(dir: string): Promise<string[]> {
  const text = await readFile("/proc/self/mountinfo", "utf8");
  const found: string[] = [];
  for (const line of text.split("\n")) {
    const target = unescapeMount(line.split(" ")[4] ?? "");
    if (target === dir || target.startsWith(`${dir}/`)) found.push(target);
  }
  return found.reverse();
}

function unescapeMount(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** Unmounts everything at or below `dir`. @throws Error when a mount is still there after the deadline. */
export async function unmountBelow(dir: string): Promise<void> {
  await until(
    async () => {
      const mounts = await mountsBelow(dir);
      for (const target of mounts) await execa("umount", ["--", target], { reject: false, stdin: "ignore" });
      // A loop device whose file lies below holds the mount it was opened through.
      if (mounts.length > 0) await askToDetach(await loopsBelow(dir));
      return mounts.length === 0;
    },
    { what: `mounts below ${dir} to go` },
  );
}

/** Loop devices whose file lies below `dir`, deleted files included. */
export async function loopsBelow(dir: string): Promise<string[]> {
  const { stdout } = await execa("losetup", ["--list", "--json", "--output", "NAME,BACK-FILE"], {
    stdin: "ignore",
  });
  if (stdout.trim() === "") return [];
  const { loopdevices } = JSON.parse(stdout) as {
    loopdevices: { name: string; "back-file": string | null }[];
  };
  return loopdevices.filter((loop) => loop["back-file"]?.startsWith(`${dir}/`)).map((loop) => loop.name);
}

/** Detaches the loop devices whose file lies below `dir`. */
export async function detachLoops(dir: string): Promise<void> {
  await until(
    async () => {
      const loops = await loopsBelow(dir);
      await askToDetach(loops);
      return loops.length === 0;
    },
    { what: `loop devices of ${dir} to go` },
  );
}

/** One that is in use goes as soon as it is no more. */
async function askToDetach(loops: readonly string[]): Promise<void> {
  for (const loop of loops) {
    await removeUuidLinks(loop);
    await execa("losetup", ["--detach", loop], { reject: false, stdin: "ignore" });
  }
}

async function removeTree(dir: string): Promise<boolean> {
  const there = await stat(dir).catch(() => undefined);
  if (there === undefined) return true;
  // Immutable files, which a migration test may make, resist deletion.
  const { exitCode } = await execa("rm", ["-rf", "--one-file-system", "--", dir], {
    reject: false,
    stdin: "ignore",
  });
  if (exitCode === 0) return true;
  await execa("chattr", ["-R", "-f", "-i", "-a", dir], { reject: false, stdin: "ignore" });
  return false;
}
