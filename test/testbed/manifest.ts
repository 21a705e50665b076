import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat, readdir, readlink } from "node:fs/promises";
import { execa } from "execa";

/** All that must be equal after a lossless copy of one file. */
export type ManifestEntry = {
  type: "file" | "directory" | "symlink" | "fifo" | "socket" | "character device" | "block device";
  /** Permission bits with setuid, setgid and sticky, octal. */
  mode: string;
  uid: number;
  gid: number;
  /** Nanoseconds since the epoch. */
  mtime: bigint;
  /** Extended attributes by name, values in hexadecimal: user, trusted, security (capabilities) and POSIX ACLs. */
  xattrs: Record<string, string>;
  /** Bytes; not of directories, whose size is the file system's own affair. */
  size?: bigint;
  sha256?: string;
  /** Symlinks: target, in latin1. */
  target?: string;
  /** Devices: their number. */
  rdev?: bigint;
  /** Files with more than one name: the first of their names in this tree, in latin1. */
  linkedTo?: string;
  /** Number of names; not of directories. */
  nlink?: number;
};

/** Entries by path below the root (`.` for itself); paths are bytes, decoded as latin1. */
export type Manifest = Map<string, ManifestEntry>;

const parallel = 16;

/** Describes everything below `root`, which may be a running container's rootfs if nothing in it changes meanwhile. */
export async function manifest(root: string): Promise<Manifest> {
  const xattrs = await readXattrs(root);
  const paths = await listTree(root);
  const firstNames = new Map<string, string>();
  const entries: Manifest = new Map();
  for (let start = 0; start < paths.length; start += parallel) {
    const batch = paths.slice(start, start + parallel);
    const described = await Promise.all(batch.map((path) => describe(root, path)));
    for (const [index, { entry, inode }] of described.entries()) {
      const path = batch[index] ?? "";
      if (inode !== undefined) {
        if (!firstNames.has(inode)) firstNames.set(inode, path);
        entry.linkedTo = firstNames.get(inode) ?? path;
      }
      entry.xattrs = xattrs.get(path) ?? {};
      entries.set(path, entry);
    }
  }
  return entries;
}

/** All paths below the root in one fixed order. */
async function listTree(root: string): Promise<string[]> {
  const found = ["."];
  const queue = ["."];
  for (let dir = queue.pop(); dir !== undefined; dir = queue.pop()) {
    for (const entry of await readdir(fullPath(root, dir), { withFileTypes: true, encoding: "buffer" })) {
      const name = entry.name.toString("latin1");
      const path = dir === "." ? name : `${dir}/${name}`;
      found.push(path);
      if (entry.isDirectory()) queue.push(path);
    }
  }
  return found.sort();
}

function fullPath(root: string, path: string): Buffer {
  return Buffer.concat([Buffer.from(`${root}/`, "utf8"), Buffer.from(path, "latin1")]);
}

async function describe(root: string, path: string): Promise<{ entry: ManifestEntry; inode?: string }> {
  const full = fullPath(root, path);
  const stats = await lstat(full, { bigint: true });
  const entry: ManifestEntry = {
    type: "file",
    mode: (stats.mode & 0o7777n).toString(8),
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    mtime: stats.mtimeNs,
    xattrs: {},
  };
  if (stats.isDirectory()) return { entry: { ...entry, type: "directory" } };
  entry.nlink = Number(stats.nlink);
  if (stats.isFile()) {
    entry.size = stats.size;
    entry.sha256 = await hashFile(full);
  } else if (stats.isSymbolicLink()) {
    entry.type = "symlink";
    entry.target = (await readlink(full, { encoding: "buffer" })).toString("latin1");
  } else if (stats.isFIFO()) entry.type = "fifo";
  else if (stats.isSocket()) entry.type = "socket";
  else {
    entry.type = stats.isCharacterDevice() ? "character device" : "block device";
    entry.rdev = stats.rdev;
  }
  return stats.nlink > 1n ? { entry, inode: `${stats.dev}:${stats.ino}` } : { entry };
}

async function hashFile(path: Buffer): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 ** 2 }) as AsyncIterable<Buffer>)
    hash.update(chunk);
  return hash.digest("hex");
}

/** One getfattr over the whole tree. */
async function readXattrs(root: string): Promise<Map<string, Record<string, string>>> {
  const args = [
    "--recursive",
    "--physical",
    "--no-dereference",
    "--dump",
    "--match=-",
    "--encoding=hex",
    "--absolute-names",
    "--",
    root,
  ];
  const { stdout } = await execa("getfattr", args, {
    encoding: "latin1",
    stdin: "ignore",
    maxBuffer: 256 * 1024 ** 2,
  });
  const found = new Map<string, Record<string, string>>();
  const prefix = Buffer.from(root, "utf8").toString("latin1");
  for (const block of stdout.split("\n\n")) {
    const [header, ...lines] = block.split("\n").filter((line) => line !== "");
    if (header === undefined) continue;
    const path = unescapeOctal(header.slice("# file: ".length)).slice(prefix.length + 1);
    const attributes = lines.map((line) => {
      const equals = line.lastIndexOf("=");
      return equals < 0
        ? [unescapeOctal(line), "0x"]
        : [unescapeOctal(line.slice(0, equals)), line.slice(equals + 1)];
    });
    found.set(path === "" ? "." : path, Object.fromEntries(attributes));
  }
  return found;
}

function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** How two manifests are compared. */
export type DiffOptions = {
  /** Paths to leave out on both sides. */
  ignore?: (path: string) => boolean;
  /** Fields to leave out. */
  ignoreFields?: (keyof ManifestEntry)[];
};

/** What differs, one line each: `- path` only in `before`, `+ path` only in `after`, `~ path: field before -> after`. Empty when equal. */
export function diffManifests(
  before: Manifest,
  after: Manifest,
  { ignore = () => false, ignoreFields = [] }: DiffOptions = {},
): string[] {
  const lines: string[] = [];
  for (const path of [...new Set([...before.keys(), ...after.keys()])].sort()) {
    if (ignore(path)) continue;
    const [old, now] = [before.get(path), after.get(path)];
    if (old === undefined) lines.push(`+ ${JSON.stringify(path)}`);
    else if (now === undefined) lines.push(`- ${JSON.stringify(path)}`);
    else
      lines.push(...changes(old, now, ignoreFields).map((change) => `~ ${JSON.stringify(path)}: ${change}`));
  }
  return lines;
}

function changes(old: ManifestEntry, now: ManifestEntry, ignoreFields: (keyof ManifestEntry)[]): string[] {
  const fields = new Set([...Object.keys(old), ...Object.keys(now)]) as Set<keyof ManifestEntry>;
  const found: string[] = [];
  for (const field of fields) {
    if (ignoreFields.includes(field)) continue;
    const [a, b] = [show(old[field]), show(now[field])];
    if (a !== b) found.push(`${field} ${a} -> ${b}`);
  }
  return found;
}

function show(value: ManifestEntry[keyof ManifestEntry]): string {
  if (typeof value !== "object") return String(value);
  return JSON.stringify(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
