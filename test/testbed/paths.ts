import { join } from "node:path";

/** Where incusd is installed by the Debian packages; `TAOS_TEST_INCUSD` names another. */
export const incusd = process.env["TAOS_TEST_INCUSD"] ?? "/usr/libexec/incus/incusd";

/** Everything one private daemon leaves on the machine, derived from its name alone so that a later run can clean up. */
export type DaemonPaths = {
  /** INCUS_DIR, also a mount point. */
  dir: string;
  socketPath: string;
  /** Disk files and mounts of a test, also a mount point; seen by the daemon, but outside of its directory. */
  dataDir: string;
  /** Files of the testbed itself: owner, log, client configuration. */
  runDir: string;
  clientDir: string;
  logFile: string;
  ownerFile: string;
  /** Name of the network namespace and the file that holds it. */
  netns: string;
  netnsFile: string;
};

/** @throws Error for a name that is not 1 to 32 of `a-z`, `0-9`, `-`. */
export function daemonPaths(name: string): DaemonPaths {
  if (!/^[a-z0-9-]{1,32}$/.test(name))
    throw new Error(`Not a name for a test daemon: ${JSON.stringify(name)}`);
  const dir = `/var/lib/incus-taos-test-${name}`;
  const runDir = `/run/taos-hosts-test/${name}`;
  const netns = `taos-test-${name}`;
  return {
    dir,
    dataDir: `/var/tmp/taos-hosts-test-${name}`,
    socketPath: join(dir, "unix.socket"),
    runDir,
    clientDir: join(runDir, "client"),
    logFile: join(runDir, "incusd.log"),
    ownerFile: join(runDir, "owner"),
    netns,
    netnsFile: `/run/netns/${netns}`,
  };
}
