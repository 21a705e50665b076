import { constants } from "node:fs";
import { access, readdir, rm, statfs } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { execa } from "execa";
import type { IncusClient } from "./incus/client.ts";
import { getServer } from "./incus/server.ts";

/**
 * The files of a host, where this process can reach them (root on the same machine). Everything that reads or
 * compares volumes goes through this one place; reaching a host over ssh is another implementation of it.
 */
export interface HostFiles {
  /** Incus' directory as this process reaches it, in the daemon's own mount namespace. */
  readonly incusDirectory: string;
  /** Absolute path on this machine of something below Incus' directory. */
  path(...segments: string[]): string;
  /** True where the path below Incus' directory exists. */
  exists(...segments: string[]): Promise<boolean>;
  /** Names in a directory below Incus' directory; empty where it does not exist. @throws where it cannot be read */
  list(...segments: string[]): Promise<string[]>;
  /** Deletes one file below Incus' directory. */
  remove(...segments: string[]): Promise<void>;
  /** Bytes that are free for Incus' directory. */
  freeBytes(): Promise<number>;
  /** Bytes that each path (as given by `path`) occupies; null where it could not be measured in time. */
  measure(paths: readonly string[], deadline: number): Promise<Map<string, number | null>>;
}

/** Directory of a container's volume below Incus' directory. */
export function volumeSegments(pool: string, project: string, name: string): string[] {
  return ["storage-pools", pool, "containers", project === "default" ? name : `${project}_${name}`];
}

/**
 * Host files of a client, or undefined where they are out of reach (https, no root).
 * The daemon may live in a mount namespace of its own, so its view is taken through /proc/<pid>/root.
 */
export async function openHostFiles(client: IncusClient): Promise<HostFiles | undefined> {
  if (client.endpoint.kind !== "unix" || process.getuid?.() !== 0) return undefined;
  const pid = (await getServer(client)).environment?.server_pid ?? 0;
  const socketDirectory = dirname(client.endpoint.socketPath);
  const candidates = [socketDirectory, process.env["INCUS_DIR"], "/var/lib/incus"];
  const prefix = pid > 0 && (await isIncusd(pid)) ? `/proc/${pid}/root` : "";
  if (prefix === "") return undefined;
  for (const candidate of candidates) {
    if (candidate && (await reachable(join(prefix, candidate, "storage-pools"))))
      return localFiles(join(prefix, candidate));
  }
  return undefined;
}

async function isIncusd(pid: number): Promise<boolean> {
  const { stdout } = await execa("readlink", [`/proc/${pid}/exe`], { reject: false });
  return basename(stdout).startsWith("incusd");
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

function localFiles(incusDirectory: string): HostFiles {
  const path = (...segments: string[]): string => join(incusDirectory, ...segments);
  return {
    incusDirectory,
    path,
    exists: (...segments) => reachable(path(...segments)),
    list: (...segments) => readdir(path(...segments)).catch(noneWhereAbsent),
    remove: (...segments) => rm(path(...segments)),
    async freeBytes() {
      const stats = await statfs(incusDirectory);
      return stats.bavail * stats.bsize;
    },
    async measure(paths, deadline) {
      const sizes = new Map<string, number | null>(paths.map((one) => [one, null]));
      if (paths.length === 0) return sizes;
      const { stdout } = await execa(
        "du",
        ["--summarize", "--block-size=1", "--one-file-system", "--null", "--", ...paths],
        {
          reject: false,
          timeout: deadline,
          stdin: "ignore",
          maxBuffer: 64 * 1024 * 1024,
        },
      );
      for (const record of stdout.split("\0")) {
        const tab = record.indexOf("\t");
        if (tab > 0) sizes.set(record.slice(tab + 1), Number(record.slice(0, tab)));
      }
      return sizes;
    },
  };
}
