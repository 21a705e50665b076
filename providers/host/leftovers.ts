import type { HostFiles } from "./files.ts";
import type { PoolLook } from "./look.ts";

/** Directories of a pool by the kind of volume they hold (incus, storage drivers' layout). */
const VOLUME_DIRECTORIES: Record<string, string[]> = {
  container: ["containers", "containers-snapshots"],
  "virtual-machine": ["virtual-machines", "virtual-machines-snapshots"],
  custom: ["custom", "custom-snapshots"],
};

/** Incus deletes a `dir` pool with everything in its directory, known to it or not; so what is unknown is found first. */
export async function findLeftovers(files: HostFiles, pool: PoolLook): Promise<string[]> {
  const base = ["storage-pools", pool.name];
  const known = knownEntries(pool);
  // Side by side: each look is a command of its own over ssh.
  const found = await Promise.all(
    (await files.list(...base)).map(async (directory) => {
      const entries = known.get(directory);
      if (!entries) return strayAt(files, [...base, directory]);
      const inside = (await listOrStray(files, [...base, directory])).map(async (entry) => {
        if (entry === undefined) return [[...base, directory].join("/")];
        return entries.has(entry) ? [] : strayAt(files, [...base, directory, entry]);
      });
      return (await Promise.all(inside)).flat();
    }),
  );
  return found.flat().sort();
}

/** The path, where anything is there that is no empty directory. */
async function strayAt(files: HostFiles, segments: string[]): Promise<string[]> {
  return (await holdsAnything(files, segments)) ? [segments.join("/")] : [];
}

/** Directory names that the database accounts for, by directory of the pool. */
function knownEntries(pool: PoolLook): Map<string, Set<string>> {
  const known = new Map<string, Set<string>>([
    ["images", new Set(pool.warm)],
    ["buckets", new Set(pool.buckets.map(({ project, name }) => `${project}_${name}`))],
  ]);
  for (const [type, [volumes = "", snapshots = ""]] of Object.entries(VOLUME_DIRECTORIES)) {
    const nameOnDisk = ({ project, name }: { project: string; name: string }): string =>
      type !== "custom" && project === "default" ? name : `${project}_${name}`;
    const own = pool.volumes.filter((volume) => volume.type === type).map(nameOnDisk);
    const withSnapshots = pool.volumeSnapshots
      .filter((snapshot) => snapshot.type === type)
      .map(({ project, name }) => nameOnDisk({ project, name: name.split("/")[0] ?? "" }));
    known.set(volumes, new Set(own));
    known.set(snapshots, new Set(withSnapshots));
  }
  return known;
}

/** Entries of what should be a directory; one `undefined` where it is something else. */
async function listOrStray(files: HostFiles, segments: string[]): Promise<(string | undefined)[]> {
  return files.list(...segments).catch(() => [undefined]);
}

/** False for an empty directory alone: it holds no data, and Incus leaves such ones behind itself. */
async function holdsAnything(files: HostFiles, segments: string[]): Promise<boolean> {
  return files.list(...segments).then(
    (entries) => entries.length > 0,
    () => true,
  );
}

/**
 * Loop files and pool directories of no pool in the database. Incus 6.0.4 deletes such a loop file when creating a
 * pool of its name fails, and refuses a pool whose directory exists.
 */
export async function findStrays(files: HostFiles, pools: readonly { name: string }[]): Promise<string[]> {
  const names = new Set(pools.map(({ name }) => name));
  const [disks, directories] = await Promise.all([files.list("disks"), files.list("storage-pools")]);
  return [
    ...disks
      .filter((file) => file.endsWith(".img") && !names.has(file.slice(0, -4)))
      .map((file) => `disks/${file}`),
    ...directories.filter((name) => !names.has(name)).map((name) => `storage-pools/${name}`),
  ].sort();
}
