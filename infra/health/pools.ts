import { type BtrfsHealth, formatBytes, type PoolHealth } from "@taos-hosts/providers";
import { type Finding, type Judgment, type NotLookedAt, OUT_OF_REACH, together } from "./finding.ts";

/** Parts in use from which a pool, or its metadata, is short of space and out of it. */
const SHORT = 0.85;
const OUT = 0.95;
/** Bytes of metadata that btrfs keeps for its own next steps: a pool of 512 MiB failed with 4.3 MiB left. */
const LAST_METADATA = 16 * 1024 ** 2;
/** Free bytes under a loop file below which the next writes may fail. */
const LAST_BYTES = 1024 ** 3;
const DAY = 86_400_000;
/** Distributions that scrub do so each month. */
const SCRUB_AGE = 35 * DAY;

/** What is wrong with the pools of a host. @param now milliseconds since 1970 */
export function judgePools(pools: readonly PoolHealth[], now: number): Judgment {
  return together([...pools.map((pool) => judgePool(pool, now)), judgeLoops(pools)]);
}

function judgePool(pool: PoolHealth, now: number): Judgment {
  const object = `pool ${pool.name}`;
  if (pool.status !== "Created" && pool.status !== "") {
    const mend = `Bring back its source (${pool.source === "" ? "loop file" : pool.source}): Incus tries it each minute, or at once: sudo systemctl restart incus; its reason: incus warning list`;
    const finding = { severity: "error", rule: "pool-status", object, what: `it is ${pool.status}`, mend };
    return { findings: [finding as Finding], notLookedAt: [] };
  }
  const notLookedAt: NotLookedAt[] = pool.space ? [] : [{ object, why: "Incus does not tell its space" }];
  const findings = fullness(pool);
  if (pool.driver !== "btrfs") return { findings, notLookedAt };
  const { btrfs, path } = pool;
  const unread = !btrfs || path === null ? OUT_OF_REACH : "unread" in btrfs ? btrfs.unread : undefined;
  if (unread !== undefined || !btrfs || "unread" in btrfs || path === null) {
    const missing = { object: `${object}: metadata, device errors and scrub`, why: unread ?? "" };
    return { findings, notLookedAt: [...notLookedAt, missing] };
  }
  const at = { object, path };
  findings.push(...metadata(pool, btrfs), ...deviceErrors(at, btrfs), ...scrub(at, btrfs, pool.madeAt, now));
  return { findings, notLookedAt };
}

function fullness({ name, driver, space, isOnLoop }: PoolHealth): Finding[] {
  if (!space || space.used < SHORT * space.total) return [];
  const what = `${formatBytes(space.total - space.used)} of ${formatBytes(space.total)} are free`;
  const mend = isOnLoop
    ? `${growth(name, space.total)}; or delete what is not needed: incus storage info ${name}`
    : `Delete what is not needed: incus storage info ${name}; or ${driver === "dir" ? "give the host more space" : "add space under it"}`;
  return [
    { severity: severityOf(space.used / space.total), rule: "pool-full", object: `pool ${name}`, what, mend },
  ];
}

function growth(pool: string, bytes: number): string {
  const larger = Math.ceil((bytes * 1.5) / 1024 ** 3);
  return `Grow it, where the host has the space: incus storage set ${pool} size=${larger}GiB`;
}

/** One that is out of metadata answers "no space left" while df shows some. */
function metadata(
  { name, space, isOnLoop, path }: PoolHealth,
  { metadata: meta, unallocated }: BtrfsHealth,
): Finding[] {
  const most = meta.total + unallocated / meta.copies;
  const taken = meta.used + meta.reserve;
  const left = most - taken;
  if (taken < SHORT * most && left >= LAST_METADATA) return [];
  const balance = `sudo btrfs balance start -dusage=50 ${path}`;
  return [
    {
      severity: left < LAST_METADATA ? "error" : severityOf(taken / most),
      rule: "btrfs-metadata",
      object: `pool ${name}`,
      what: `btrfs has ${formatBytes(Math.max(0, left))} left for metadata, whatever df says: it fails with "no space left"`,
      mend:
        isOnLoop && space
          ? `${growth(name, space.total)}; or give data's unused blocks back: ${balance}`
          : `Give data's unused blocks back: ${balance}`,
    },
  ];
}

function deviceErrors({ object, path }: Place, { errors }: BtrfsHealth): Finding[] {
  if (errors.length === 0) return [];
  const counted = errors.map(({ device, counter, count }) => `${counter} ${count} on ${device}`).join(", ");
  return [
    {
      severity: "error",
      rule: "btrfs-errors",
      object,
      what: `btrfs has counted errors of its device: ${counted}`,
      mend: `Save what matters first (incus export), see which files: sudo btrfs scrub start -B ${path}; sudo dmesg. With the device replaced, or the cause gone: sudo btrfs device stats --reset ${path}`,
    },
  ];
}

function scrub(
  { object, path }: Place,
  { scrub: last }: BtrfsHealth,
  madeAt: number | null,
  now: number,
): Finding[] {
  const mend = `sudo btrfs scrub start -B ${path}`;
  if (last !== "never" && last.uncorrectable > 0) {
    const what = `its last scrub found ${last.uncorrectable} blocks that it could not mend`;
    const restore = `Restore or delete the files that this names: ${mend}; sudo dmesg | grep BTRFS`;
    return [{ severity: "error", rule: "btrfs-scrub", object, what, mend: restore }];
  }
  const since = last === "never" ? madeAt : last.startedAt;
  if (since === null || now - since < SCRUB_AGE) return [];
  const days = Math.floor((now - since) / DAY);
  const what =
    last === "never" ? `it was never scrubbed in ${days} days` : `its last scrub was ${days} days ago`;
  return [{ severity: "warning", rule: "btrfs-scrub", object, what, mend }];
}

interface Place {
  object: string;
  /** Where it is mounted. */
  path: string;
}

/** Loop files are sparse, and nothing keeps their space: several may count on the same. */
function judgeLoops(pools: readonly PoolHealth[]): Judgment {
  const unknown = pools.filter(({ isOnLoop, loop }) => isOnLoop && !loop);
  const byDevice = Map.groupBy(
    pools.flatMap(({ name, loop }) => (loop ? [{ name, ...loop }] : [])),
    ({ device }) => device,
  );
  const findings = [...byDevice.values()].flatMap((files): Finding[] => {
    const free = Math.min(...files.map((file) => file.free));
    const wanting = files.reduce((sum, file) => sum + Math.max(0, file.bytes - file.occupied), 0);
    if (wanting <= free) return [];
    const names = files.map(({ name }) => name).join(", ");
    return [
      {
        severity: free < LAST_BYTES ? "error" : "warning",
        rule: "loop-headroom",
        object: `${files.length > 1 ? "pools" : "pool"} ${names}`,
        what: `${files.length > 1 ? "their loop files" : "its loop file"} may take ${formatBytes(wanting)} more, and the host has ${formatBytes(free)} there: without space btrfs turns read-only`,
        mend: `Free space on the host: sudo du -xh --max-depth=2 /var | sort -h | tail; or give unused blocks back to it: sudo fstrim ${files.map(({ name }) => pools.find((one) => one.name === name)?.path ?? "").join(" ")}`,
      },
    ];
  });
  const notLookedAt = unknown.map(({ name, path }) => ({
    object: `pool ${name}: space under its loop file`,
    why: path === null ? OUT_OF_REACH : "the loop file cannot be read",
  }));
  return { findings, notLookedAt };
}

function severityOf(part: number): "error" | "warning" {
  return part >= OUT ? "error" : "warning";
}
