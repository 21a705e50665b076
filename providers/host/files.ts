import { X509Certificate } from "node:crypto";
import { basename, join } from "node:path";
import type { CommandOptions, CommandResult } from "../common/command.ts";
import { VisibleError } from "../common/errors.ts";
import { fingerprintOf } from "../incus/certificates.ts";
import type { IncusClient } from "../incus/client.ts";
import type { Endpoint } from "../incus/connection.ts";
import { getServer } from "../incus/server.ts";
import { guardedMachine, type WriteGuard } from "./guarded-machine.ts";
import { localMachine } from "./local-machine.ts";
import { type LoopFileLook, lookAtLoopFile } from "./loops.ts";
import type { HostMachine } from "./machine.ts";
import { openSshMachine } from "./ssh-machine.ts";

/**
 * The files of a host's Incus, where they can be reached: what is below Incus' directory, as the daemon has it, and
 * programs where the daemon's paths hold. Everything that reads or compares volumes goes through this.
 */
export interface HostFiles {
  readonly machine: HostMachine;
  /** Absolute path of something below Incus' directory as the daemon sees it: what programs take, and people are told. */
  daemonPath(...segments: string[]): string;
  /**
   * Runs a program where the daemon's paths hold: in its mount namespace, where that is not the machine's own. A
   * program cannot be given a path below /proc/<pid>/root instead: rsync resolves links by itself since 3.5 and would
   * end up in its own namespace.
   */
  run(argv: readonly string[], options: CommandOptions): Promise<CommandResult>;
  /** Link text of the daemon's mount namespace: processes of another one have other files under the same paths. */
  readonly mountNamespace: string;
  /** All mount points of the daemon's mount table, as the daemon sees them. */
  mounts(): Promise<string[]>;
  /** True where the path below Incus' directory exists. */
  exists(...segments: string[]): Promise<boolean>;
  /** Names in a directory below Incus' directory; empty where it does not exist. @throws where it cannot be read */
  list(...segments: string[]): Promise<string[]>;
  /** The same of a directory anywhere on the host, by its absolute path as the daemon sees it. */
  listOnHost(path: string): Promise<string[]>;
  /** Those of absolute paths, as the daemon sees them, at which there is something; links are followed. */
  existing(paths: readonly string[]): Promise<string[]>;
  /** Deletes a file, link or directory below Incus' directory, with all that is in it. */
  remove(...segments: string[]): Promise<void>;
  /** Renames a file or directory below Incus' directory. */
  rename(from: readonly string[], to: readonly string[]): Promise<void>;
  /** What a link below Incus' directory says; undefined where there is none. */
  linkTarget(...segments: string[]): Promise<string | undefined>;
  /** Makes a link below Incus' directory. */
  symlink(target: string, at: readonly string[]): Promise<void>;
  /** The loop file of a pool and the devices on it; undefined where there is none, or it cannot be told. */
  loopFile(pool: string): Promise<LoopFileLook | undefined>;
  /** Bytes that are free for Incus' directory, or for something below it. */
  freeBytes(...segments: string[]): Promise<number>;
  /** Bytes that each path (as given by `daemonPath`) occupies; null where it could not be measured in time. */
  measure(paths: readonly string[], deadline: number): Promise<Map<string, number | null>>;
}

/** Runs a program that must succeed. @throws VisibleError with what it said */
export async function runSuccessfully(
  files: Pick<HostFiles, "run">,
  argv: readonly string[],
  options: CommandOptions,
): Promise<Buffer> {
  const { exitCode, stdout, stderr, timedOut } = await files.run(argv, options);
  if (exitCode === 0) return stdout;
  const why = timedOut
    ? `did not end within ${Math.round(options.timeout / 1000)} s`
    : `ended with ${exitCode}`;
  const [line = ""] = stderr.trim().split("\n");
  throw new VisibleError(`${argv[0]} on the host ${why}${line === "" ? "" : `: ${line.slice(0, 300)}`}.`);
}

/** Milliseconds to look whether paths exist; a share whose server is gone may hang. */
const STAT_DEADLINE = 10_000;

/** Directory of a container's volume below Incus' directory. */
export function volumeSegments(pool: string, project: string, name: string): string[] {
  return ["storage-pools", pool, "containers", project === "default" ? name : `${project}_${name}`];
}

/**
 * Host files of a client, or undefined where they are out of reach (https, no root, a socket forwarded from another
 * machine). The daemon may live in a mount namespace of its own, so its view is taken through /proc/<pid>/root.
 * @param guard of a run that may lose its right to write
 */
export async function openHostFiles(client: IncusClient, guard?: WriteGuard): Promise<HostFiles | undefined> {
  const unguarded = await machineOf(client);
  if (!unguarded) return undefined;
  const machine = guard ? guardedMachine(unguarded, guard) : unguarded;
  const { server_pid: pid = 0, certificate_fingerprint: fingerprint = "" } =
    (await getServer(client)).environment ?? {};
  const proved = places.get(client.endpoint);
  const process = `${pid} ${fingerprint}`;
  const place = proved?.process === process ? proved.place : await provePlace(machine, pid, fingerprint);
  if (!place) return undefined;
  places.set(client.endpoint, { process, place });
  return filesOf(machine, place);
}

/** What was proved of a daemon: it holds as long as it is that process, and takes eight commands over ssh. */
const places = new WeakMap<Endpoint, { process: string; place: DaemonPlace }>();

/** Undefined where the files of this machine are not those of the daemon. */
async function provePlace(
  machine: HostMachine,
  pid: number,
  fingerprint: string,
): Promise<DaemonPlace | undefined> {
  const program = basename((await machine.linkTarget(`/proc/${pid}/exe`)) ?? "");
  if (pid === 0 || !program.startsWith("incusd")) return undefined;
  // The directory that the daemon itself was told to use; the place of the socket, or our environment, proves nothing.
  const directory =
    environmentOf(await machine.read(`/proc/${pid}/environ`), "INCUS_DIR") ?? "/var/lib/incus";
  if (!(await showsCertificate(machine, `/proc/${pid}/root${directory}`, fingerprint))) return undefined;
  const [mountNamespace = "", enter] = await Promise.all([
    machine.linkTarget(`/proc/${pid}/ns/mnt`),
    entryTo(machine, pid),
  ]);
  return { pid, directory, mountNamespace, enter };
}

/** Root on the machine of a client's host, where that can be had. */
async function machineOf({ endpoint, ssh }: IncusClient): Promise<HostMachine | undefined> {
  if (ssh) return openSshMachine(ssh);
  return endpoint.kind === "unix" && process.getuid?.() === 0 ? localMachine : undefined;
}

/** What goes before a command so that it runs where the daemon's paths hold; nothing where they hold here. */
async function entryTo(machine: HostMachine, pid: number): Promise<string[]> {
  const [theirs, ours] = await Promise.all([rootOf(machine, String(pid)), rootOf(machine, "self")]);
  return theirs === ours ? [] : ["nsenter", `--target=${pid}`, "--mount", "--root", "--"];
}

async function rootOf(machine: HostMachine, process: string): Promise<string> {
  const [namespace, root] = await Promise.all([
    machine.linkTarget(`/proc/${process}/ns/mnt`),
    machine.identify(`/proc/${process}/root/`),
  ]);
  return `${namespace} ${root.device} ${root.inode}`;
}

/** A variable in the text of a process' `environ` file; undefined where it is unset or empty. */
export function environmentOf(environ: string | undefined, name: string): string | undefined {
  const entry = environ?.split("\0").find((line) => line.startsWith(`${name}=`));
  return entry?.slice(name.length + 1) || undefined;
}

/** True where the directory holds the certificate that the daemon shows: it is this daemon's and no other's. */
async function showsCertificate(
  machine: HostMachine,
  directory: string,
  fingerprint: string,
): Promise<boolean> {
  for (const file of ["server.crt", "cluster.crt"]) {
    const pem = await machine.read(join(directory, file));
    if (pem && fingerprintOf(new X509Certificate(pem).raw) === fingerprint) return true;
  }
  return false;
}

interface DaemonPlace {
  pid: number;
  /** Incus' directory as the daemon sees it. */
  directory: string;
  mountNamespace: string;
  enter: readonly string[];
}

/** The daemon may live in a mount namespace of its own, so its files are taken through /proc/<pid>/root. */
function filesOf(machine: HostMachine, { pid, directory, mountNamespace, enter }: DaemonPlace): HostFiles {
  const path = (...segments: readonly string[]): string => join(`/proc/${pid}/root`, directory, ...segments);
  const run: HostFiles["run"] = (argv, options) => machine.run([...enter, ...argv], options);
  return {
    machine,
    daemonPath: (...segments) => join(directory, ...segments),
    run,
    mountNamespace,
    async mounts() {
      const table = await machine.read(`/proc/${pid}/mountinfo`);
      if (table === undefined) throw new VisibleError("The daemon's mount table cannot be read. Run again.");
      return mountPoints(table);
    },
    exists: (...segments) => machine.exists(path(...segments)),
    list: (...segments) => machine.list(path(...segments)),
    listOnHost: (absolute) => machine.list(join(`/proc/${pid}/root`, absolute)),
    async existing(paths) {
      if (paths.length === 0) return [];
      // By a program, where the daemon's paths hold: a link would lead out of /proc/<pid>/root.
      const options = ["--dereference", "--printf=%n\\0", "--"];
      const { stdout } = await run(["stat", ...options, ...paths], { timeout: STAT_DEADLINE });
      return stdout.toString().split("\0").filter(Boolean);
    },
    remove: (...segments) => machine.remove(path(...segments)),
    rename: (from, to) => machine.rename(path(...from), path(...to)),
    linkTarget: (...segments) => machine.linkTarget(path(...segments)),
    symlink: (target, at) => machine.symlink(target, path(...at)),
    loopFile: (pool) => lookAtLoopFile(machine, path("disks", `${pool}.img`)),
    freeBytes: (...segments) => machine.freeBytes(path(...segments)),
    async measure(paths, deadline) {
      const sizes = new Map<string, number | null>(paths.map((one) => [one, null]));
      if (paths.length === 0) return sizes;
      const options = ["--summarize", "--block-size=1", "--one-file-system", "--null", "--"];
      const { stdout } = await run(["du", ...options, ...paths], { timeout: deadline });
      for (const record of stdout.toString().split("\0")) {
        const tab = record.indexOf("\t");
        if (tab > 0) sizes.set(record.slice(tab + 1), Number(record.slice(0, tab)));
      }
      return sizes;
    },
  };
}

/** Mount points in the text of a `mountinfo` file (proc_pid_mountinfo(5)): its fifth field, blanks as octal. */
function mountPoints(mountinfo: string): string[] {
  return mountinfo
    .split("\n")
    .filter(Boolean)
    .map((line) =>
      (line.split(" ")[4] ?? "").replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
        String.fromCharCode(Number.parseInt(digits, 8)),
      ),
    );
}
