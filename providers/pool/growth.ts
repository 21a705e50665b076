import { formatBytes, incusSize } from "../common/bytes.ts";
import { VisibleError } from "../common/errors.ts";
import { openHostFiles } from "../host/files.ts";
import type { LoopDeviceLook } from "../host/loops.ts";
import { type PoolSizes, readPoolSizes } from "../host/pool-sizes.ts";
import type { IncusClient } from "../incus/client.ts";
import { findPool, setPoolSize } from "../incus/pools.ts";

/** A pool whose size was asked for, as the world shows it. */
export interface PoolToGrow {
  name: string;
  driver: string;
  sizes: PoolSizes;
  /** Bytes free on the host for its loop file; null where unknown. */
  hostFreeBytes: number | null;
}

/** What becomes of a wish for a size. */
export type Growth =
  | { action: "grow"; reason: string }
  /** As large as wished, or not to be touched; `remark` says so where the config alone would mislead. */
  | { action: "keep"; remark?: string }
  | { action: "refuse"; reason: string; remedy: string };

/** A file system leaves less than this at the end of its device unused (btrfs: less than a sector). */
const UNUSED_TAIL = 1024 ** 2;
/** zfs counts neither its reserve (1/32) nor its labels and metadata as space. */
const LEAST_ZFS_SHARE = 0.9;

/**
 * Decides growth from loop file, loop device and file system together: Incus sets the file to the size that it is told,
 * and cuts a live file where that is shorter (seen on 6.0.4). So a pool grows only beyond all of them, and only where
 * they agree.
 */
export function decideGrowth(wanted: number, pool: PoolToGrow): Growth {
  const { name, sizes, hostFreeBytes } = pool;
  const { setting, fileSystem, loop } = sizes;
  if (!loop) {
    if (fileSystem === null || fileSystem >= wanted) return { action: "keep" };
    return {
      action: "keep",
      remark: `pool ${name} is on no loop file of Incus' own, so it is not grown to ${formatBytes(wanted)}: grow what it is on, or take pool.size out of the config`,
    };
  }
  const known = readings(sizes).map(({ bytes }) => bytes);
  const trouble = disagreement(pool);
  // Where they agree all of them are one size (zfs shows less of it than there is); else the least counts.
  const unread = loop === "out of reach" ? (setting ?? 0) : 0;
  const real = trouble === undefined ? Math.max(unread, ...known) : Math.min(...known);
  if (!trouble?.isDamage && known.length > 0 && real >= wanted) {
    if (setting === null || setting >= wanted) return { action: "keep" };
    return {
      action: "keep",
      remark: `pool ${name} has ${formatBytes(real)} already, though Incus' own setting says ${formatBytes(setting)}: it was grown by hand and is left as it is`,
    };
  }
  if (trouble !== undefined) {
    return {
      action: "keep",
      remark: `pool ${name} is not grown to ${formatBytes(wanted)}: ${described(sizes)}. ${trouble.remedy}`,
    };
  }
  const more = wanted - real;
  if (hostFreeBytes !== null && more > hostFreeBytes) {
    return {
      action: "refuse",
      reason: `growing pool ${name} to ${formatBytes(wanted)} needs ${formatBytes(more)}, ${formatBytes(hostFreeBytes)} are free on the host`,
      remedy: "Free space or set a smaller size.",
    };
  }
  return { action: "grow", reason: `from ${formatBytes(real)} to ${formatBytes(wanted)}` };
}

interface Reading {
  what: string;
  bytes: number;
}

/** Everything of a loop pool that has a size of its own; Incus' setting is none of it. */
function readings({ fileSystem, loop }: PoolSizes): Reading[] {
  if (!loop) return [];
  const here =
    loop === "out of reach" ? [] : [{ what: "its loop file", bytes: loop.file }, ...named(loop.devices)];
  return [...here, ...(fileSystem === null ? [] : [{ what: "its file system", bytes: fileSystem }])];
}

function named(devices: readonly LoopDeviceLook[]): Reading[] {
  return devices.map(({ device, bytes }) => ({ what: device, bytes }));
}

function described(sizes: PoolSizes): string {
  const { setting } = sizes;
  const all = [...readings(sizes), ...(setting === null ? [] : [{ what: "Incus' setting", bytes: setting }])];
  if (all.length === 0) return "its size is unknown";
  return `its sizes differ or are not all known: ${all.map(({ what, bytes }) => `${what} ${formatBytes(bytes)}`).join(", ")}`;
}

interface Disagreement {
  /** The file system reaches beyond what it is on. */
  isDamage: boolean;
  remedy: string;
}

/** Why the sizes of a loop pool are none to build on, with the way out; undefined where they agree. */
function disagreement({ driver, sizes }: PoolToGrow): Disagreement | undefined {
  const { setting, fileSystem, loop } = sizes;
  if (!loop) return undefined;
  if (fileSystem === null)
    return { isDamage: false, remedy: "See incus warning list and incus storage info on the host." };
  const fits = (bytes: number): boolean =>
    bytes >= fileSystem &&
    (driver === "zfs" ? fileSystem >= bytes * LEAST_ZFS_SHARE : bytes - fileSystem < UNUSED_TAIL);
  if (loop === "out of reach") {
    if (setting !== null && fits(setting)) return undefined;
    return {
      isDamage: false,
      remedy: "Its loop file cannot be read over this connection: run on the host itself as root.",
    };
  }
  const { file, devices } = loop;
  const isBelow = ({ bytes }: { bytes: number }): boolean => bytes < fileSystem;
  if (file < fileSystem || (devices.length > 0 && devices.every(isBelow))) {
    return {
      isDamage: true,
      remedy:
        "What it is on is shorter than its file system, so data may be lost already: copy what it holds to another pool before anything else.",
    };
  }
  const lagging = devices.filter(({ bytes }) => bytes !== file);
  // zfs opens the file itself; everything else needs a loop device, which also proves that this is the file in use.
  const isReachable = driver === "zfs" || devices.length > 0;
  if (isReachable && lagging.length === 0 && fits(file) && (setting === null || setting <= file))
    return undefined;
  const steps = [
    ...lagging.map(({ device }) => `losetup -c ${device}`),
    ...(driver === "btrfs" && isReachable ? ["btrfs filesystem resize max on the pool's mount point"] : []),
  ];
  return {
    isDamage: false,
    remedy:
      steps.length > 0
        ? `Bring them in line by hand (${steps.join(", ")}), or take pool.size out of the config.`
        : "Take pool.size out of the config.",
  };
}

/**
 * Grows a pool to `wanted` bytes. Everything is read and decided again right before the write, and read once more
 * after it. The caller holds the pool's lock.
 * @throws VisibleError where it does not fit any more, or where the pool is not as large afterwards
 */
export async function growPool(client: IncusClient, name: string, wanted: number): Promise<void> {
  const files = await openHostFiles(client);
  const found = await findPool(client, name);
  if (!found) throw new VisibleError(`Pool "${name}" vanished while it was worked on. Run up again.`);
  const { driver } = found.value;
  const sizes = await readPoolSizes(client, found.value, files);
  const growth = decideGrowth(wanted, { name, driver, sizes, hostFreeBytes: null });
  if (growth.action !== "grow") {
    throw new VisibleError(
      `Refusing to grow pool "${name}" to ${incusSize(wanted)}: ${described(sizes)}, other than a moment ago. Nothing was changed; look at a new preview.`,
    );
  }
  await setPoolSize(client, found, incusSize(wanted));
  const after = await readPoolSizes(client, found.value, files);
  const short = readings(after).find(
    ({ bytes }) => bytes < wanted * (driver === "zfs" ? LEAST_ZFS_SHARE : 1),
  );
  if (short === undefined) return;
  throw new VisibleError(
    `Pool "${name}" was to grow to ${incusSize(wanted)}, but ${short.what} has ${formatBytes(short.bytes)}. Nothing is lost; see the daemon's log, and losetup --list on the host.`,
  );
}
