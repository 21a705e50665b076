import { X509Certificate } from "node:crypto";
import { constants } from "node:fs";
import { access, readdir, readFile, readlink, rm, stat, statfs } from "node:fs/promises";
import { basename, join } from "node:path";
import { execa } from "execa";
import type { IncusClient } from "../incus/client.ts";
import { fingerprintOf } from "../incus/connection.ts";
import { getServer } from "../incus/server.ts";
import { type LoopFileLook, lookAtLoopFile } from "./loops.ts";

/**
 * The files of a host, where this process can reach them (root on the same machine). Everything that reads or
 * compares volumes goes through this one place; reaching a host over ssh is another implementation of it.
 */
export interface HostFiles {
  /** Incus' directory as this process reaches it, in the daemon's own mount namespace. */
  readonly incusDirectory: string;
  /** Absolute path of something below Incus' directory, as calls of this process reach it. */
  path(...segments: string[]): string;
  /** The same path as the daemon sees it: what programs run by `command` take, and what people are told. */
  daemonPath(...segments: string[]): string;
  /**
   * File and arguments that run a program where the daemon's paths hold: in its mount namespace, where that is not
   * this process' own. A program cannot be given a path below /proc/<pid>/root instead: rsync resolves links by
   * itself since 3.5 and would end up in its own namespace.
   */
  command(program: string, ...args: string[]): [file: string, args: string[]];
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
  /** Deletes one file below Incus' directory. */
  remove(...segments: string[]): Promise<void>;
  /** The loop file of a pool and the devices on it; undefined where there is none, or it cannot be told. */
  loopFile(pool: string): Promise<LoopFileLook | undefined>;
  /** Bytes that are free for Incus' directory. */
  freeBytes(): Promise<number>;
  /** Bytes that each path (as given by `daemonPath`) occupies; null where it could not be measured in time. */
  measure(paths: readonly string[], deadline: number): Promise<Map<string, number | null>>;
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
 */
export async function openHostFiles(client: IncusClient): Promise<HostFiles | undefined> {
  if (client.endpoint.kind !== "unix" || process.getuid?.() !== 0) return undefined;
  const { server_pid: pid = 0, certificate_fingerprint: fingerprint = "" } =
    (await getServer(client)).environment ?? {};
  if (pid === 0 || !(await isIncusd(pid))) return undefined;
  const root = `/proc/${pid}/root`;
  const directory = await incusDirectoryOf(pid);
  if (!(await showsCertificate(join(root, directory), fingerprint))) return undefined;
  const [mountNamespace, enter] = await Promise.all([readlink(`/proc/${pid}/ns/mnt`), entryTo(pid)]);
  return localFiles({ pid, root, directory, mountNamespace, enter });
}

/** What goes before a command so that it runs where the daemon's paths hold; nothing where they hold here. */
async function entryTo(pid: number): Promise<string[]> {
  const [theirs, ours] = await Promise.all([rootOf(String(pid)), rootOf("self")]);
  return theirs === ours ? [] : ["nsenter", `--target=${pid}`, "--mount", "--root", "--"];
}

async function rootOf(process: string): Promise<string> {
  const [namespace, root] = await Promise.all([
    readlink(`/proc/${process}/ns/mnt`),
    stat(`/proc/${process}/root/`),
  ]);
  return `${namespace} ${root.dev}:${root.ino}`;
}

async function isIncusd(pid: number): Promise<boolean> {
  const { stdout } = await execa("readlink", [`/proc/${pid}/exe`], { reject: false });
  return basename(stdout).startsWith("incusd");
}

/** The directory that the daemon itself was told to use; the place of the socket, or our environment, proves nothing. */
async function incusDirectoryOf(pid: number): Promise<string> {
  const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
  const entry = environment.split("\0").find((line) => line.startsWith("INCUS_DIR="));
  return entry?.slice("INCUS_DIR=".length) || "/var/lib/incus";
}

/** True where the directory holds the certificate that the daemon shows: it is this daemon's and no other's. */
async function showsCertificate(directory: string, fingerprint: string): Promise<boolean> {
  for (const file of ["server.crt", "cluster.crt"]) {
    const pem = await readFile(join(directory, file)).catch(() => undefined);
    if (pem && fingerprintOf(new X509Certificate(pem).raw) === fingerprint) return true;
  }
  return false;
}

async function reachable(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}

/** Only an absent directory is an empty one: what cannot be read may hold anything. */
function noneWhereAbsent(error: NodeJS.ErrnoException): string[] {
  if (error.code === "ENOENT") return [];
  throw error;
}

interface DaemonPlace {
  pid: number;
  /** Its root as calls of this process reach it. */
  root: string;
  /** Incus' directory as the daemon sees it. */
  directory: string;
  mountNamespace: string;
  enter: readonly string[];
}

function localFiles({ pid, root, directory, mountNamespace, enter }: DaemonPlace): HostFiles {
  const incusDirectory = join(root, directory);
  const path = (...segments: string[]): string => join(incusDirectory, ...segments);
  const command = (program: string, ...args: string[]): [string, string[]] => {
    const [file = program, ...rest] = [...enter, program, ...args];
    return [file, rest];
  };
  return {
    incusDirectory,
    path,
    daemonPath: (...segments) => join(directory, ...segments),
    command,
    mountNamespace,
    mounts: async () => mountPoints(await readFile(`/proc/${pid}/mountinfo`, "utf8")),
    exists: (...segments) => reachable(path(...segments)),
    list: (...segments) => readdir(path(...segments)).catch(noneWhereAbsent),
    listOnHost: (absolute) => readdir(join(root, absolute)).catch(noneWhereAbsent),
    async existing(paths) {
      if (paths.length === 0) return [];
      // By a program, where the daemon's paths hold: a link would lead out of /proc/<pid>/root.
      const options = ["--dereference", "--printf=%n\\0", "--"];
      const { stdout } = await execa(...command("stat", ...options, ...paths), {
        reject: false,
        timeout: STAT_DEADLINE,
        stdin: "ignore",
      });
      return stdout.split("\0").filter(Boolean);
    },
    remove: (...segments) => rm(path(...segments)),
    loopFile: (pool) => lookAtLoopFile(path("disks", `${pool}.img`)),
    async freeBytes() {
      const stats = await statfs(incusDirectory);
      return stats.bavail * stats.bsize;
    },
    async measure(paths, deadline) {
      const sizes = new Map<string, number | null>(paths.map((one) => [one, null]));
      if (paths.length === 0) return sizes;
      const options = ["--summarize", "--block-size=1", "--one-file-system", "--null", "--"];
      const { stdout } = await execa(...command("du", ...options, ...paths), {
        reject: false,
        timeout: deadline,
        stdin: "ignore",
        maxBuffer: 64 * 1024 * 1024,
      });
      for (const record of stdout.split("\0")) {
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
