import { existsSync } from "node:fs";
import { readdir, readFile, readlink, rmdir, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { until } from "./deadline.ts";

/** Start time of a process in clock ticks since boot, or `undefined` when there is none; with the pid it names one process for good. */
export async function processIdentity(pid: number): Promise<string | undefined> {
  const fields = await statFields(pid);
  // A zombie no longer does anything.
  return fields === undefined || fields[0] === "Z" ? undefined : fields[19];
}

/** The fields of /proc/<pid>/stat after the command name, the state first. */
async function statFields(pid: number): Promise<string[] | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  return text?.slice(text.lastIndexOf(")") + 2).split(" ");
}

/**
 * The processes of one private daemon: everything in its network namespace,
 * incusd and dnsmasq processes that name its directory (a forkproxy may sit in
 * a container's namespace), and all their descendants, containers included.
 */
export async function daemonProcesses(dir: string, netnsFile: string): Promise<number[]> {
  const netns = await stat(netnsFile).catch(() => undefined);
  const children = new Map<number, number[]>();
  const found = new Set<number>();
  for (const entry of await readdir("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const fields = await statFields(pid);
    if (fields === undefined || fields[0] === "Z") continue;
    const parent = Number(fields[1]);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
    if ((netns !== undefined && (await inNamespace(pid, netns.ino))) || (await namesDirectory(pid, dir)))
      found.add(pid);
  }
  const queue = [...found];
  for (let pid = queue.pop(); pid !== undefined; pid = queue.pop()) {
    found.add(pid);
    queue.push(...(children.get(pid) ?? []).filter((child) => !found.has(child)));
  }
  found.delete(process.pid);
  return [...found];
}

async function inNamespace(pid: number, inode: number): Promise<boolean> {
  return (await readlink(`/proc/${pid}/ns/net`).catch(() => "")) === `net:[${inode}]`;
}

/** A forkproxy of a container names the directory in its environment only. */
async function namesDirectory(pid: number, dir: string): Promise<boolean> {
  const program = basename(await readlink(`/proc/${pid}/exe`).catch(() => ""));
  if (program !== "incusd" && program !== "dnsmasq") return false;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
  return commandLine.includes(`${dir}/`) || environment.split("\0").includes(`INCUS_DIR=${dir}`);
}

/** Kills every process of a daemon, frozen ones included, waits until they are gone and removes their cgroups. */
export async function killDaemonProcesses(dir: string, netnsFile: string): Promise<void> {
  const cgroups = new Set<string>();
  await until(
    async () => {
      const pids = await daemonProcesses(dir, netnsFile);
      for (const pid of pids) for (const cgroup of await lxcCgroups(pid)) cgroups.add(cgroup);
      // Only now: a container ends with its monitor, and its cgroup is no longer told.
      for (const cgroup of cgroups) await thaw(cgroup);
      for (const pid of pids) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // It ended by itself.
        }
      }
      return pids.length === 0;
    },
    { what: `the processes of ${dir} to end`, everyMs: 20 },
  );
  await removeCgroups([...cgroups]);
}

/** The LXC cgroup directories a process is in, one for each hierarchy. */
async function lxcCgroups(pid: number): Promise<string[]> {
  const text = await readFile(`/proc/${pid}/cgroup`, "utf8").catch(() => "");
  const found: string[] = [];
  for (const line of text.split("\n")) {
    const [hierarchy, controllers, ...rest] = line.split(":");
    const top = rest.join(":").split("/")[1];
    if (!top?.startsWith("lxc.payload.") && !top?.startsWith("lxc.monitor.")) continue;
    if (hierarchy === "0") found.push(join("/sys/fs/cgroup/unified", top), join("/sys/fs/cgroup", top));
    else found.push(join("/sys/fs/cgroup", (controllers ?? "").replace("name=", ""), top));
  }
  return found;
}

/** A frozen process does not notice SIGKILL in a version 1 hierarchy. */
async function thaw(cgroup: string): Promise<void> {
  await writeFile(join(cgroup, "freezer.state"), "THAWED", { flag: "r+" }).catch(() => undefined);
  await writeFile(join(cgroup, "cgroup.freeze"), "0", { flag: "r+" }).catch(() => undefined);
}

/** A cgroup stays busy until the last zombie in it is reaped. */
async function removeCgroups(cgroups: string[]): Promise<void> {
  const gone = async () => {
    for (const cgroup of cgroups) await removeCgroup(cgroup);
    return !cgroups.some((cgroup) => existsSync(cgroup));
  };
  // An empty one left behind hurts nobody.
  await until(gone, { what: "cgroups to go", deadlineMs: 3_000, everyMs: 20 }).catch(() => undefined);
}

async function removeCgroup(cgroup: string): Promise<void> {
  const entries = await readdir(cgroup, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await removeCgroup(join(cgroup, entry.name));
  await rmdir(cgroup).catch(() => undefined);
}
