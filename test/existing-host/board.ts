import { execa } from "execa";
import type { IncusDaemon } from "../testbed/daemon.ts";
import { until } from "../testbed/deadline.ts";
import { setUpHost } from "../testbed/host-setup.ts";
import { importImage } from "../testbed/images.ts";

/** Project of a user of group `incus`, as incus-user makes it: profiles and images of its own. */
export const USER_PROJECT = "user-1000";

/**
 * A board as the maintainer runs it: a `dir` pool with mary (running, two snapshots, a custom volume attached), naira
 * (stopped) and stanley (running, in a user's project).
 */
export async function setUpBoard(d: IncusDaemon): Promise<void> {
  await setUpHost(d, { driver: "dir" });
  await importImage(d, "bb");
  await d.incus("storage", "volume", "create", "default", "memories");
  await d.incus("launch", "bb", "mary");
  await d.incus(
    "config",
    "device",
    "add",
    "mary",
    "memories",
    "disk",
    "pool=default",
    "source=memories",
    "path=/memories",
  );
  await d.incusWithInput("months of memory\n", "file", "push", "-", "mary/root/notes");
  for (const snapshot of ["monday", "tuesday"]) await d.incus("snapshot", "create", "mary", snapshot);
  await d.incus("init", "bb", "naira");
  await addUserProject(d);
  await d.incus("--project", USER_PROJECT, "launch", "bb", "stanley");
  await d.ipv4("mary");
  // Operations that have ended stay in the database for five seconds.
  await until(
    async () => !(await d.incus("admin", "sql", "global", ".dump")).includes("INSERT INTO operations"),
    {
      what: "the operations of the set-up to be forgotten",
      deadlineMs: 15_000,
      everyMs: 500,
    },
  );
}

/** A project with profiles of its own, whose default profile names pool `default`. */
export async function addUserProject(d: IncusDaemon, project = USER_PROJECT): Promise<void> {
  await d.incus("project", "create", project, "-c", "features.images=false", "-c", "features.profiles=true");
  const add = ["--project", project, "profile", "device", "add", "default"];
  await d.incus(...add, "root", "disk", "path=/", "pool=default");
  await d.incus(...add, "eth0", "nic", "network=incusbr0", "name=eth0");
}

/** What nobody may have written to: databases, every file of the pool with inode and times, processes. */
export async function fingerprintOf(d: IncusDaemon, pool = "default"): Promise<Record<string, unknown>> {
  const dump = (database: string): Promise<string> => d.incus("admin", "sql", database, ".dump");
  const { stdout: files } = await execa(
    "find",
    [`${d.dir}/storage-pools/${pool}`, "-printf", "%P %i %y %m %U:%G %s %T@ %C@ %l\n"],
    { stdin: "ignore" },
  );
  const instances = await d.query<{ name: string; state: { pid: number } | null }[]>(
    "/1.0/instances?recursion=2&all-projects=true",
  );
  return {
    global: (await dump("global")).split("\n"),
    local: (await dump("local")).split("\n"),
    files: files.split("\n").sort(),
    pids: Object.fromEntries(instances.map(({ name, state }) => [name, state?.pid])),
    daemon: d.pid,
  };
}
