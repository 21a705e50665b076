import { rootDisk } from "../incus/root-disk.ts";
import type { Instance, StoragePool } from "../incus/schemas.ts";
import { isSuccessor } from "../marks/identity.ts";
import { parkedRecordOf } from "../marks/parked-record.ts";
import { type HostFiles, volumeSegments } from "./files.ts";

/** A parked instance that is still there. */
export interface ParkedHealth {
  name: string;
  project: string;
  /** The container that it was put aside for. */
  of: string;
  reason: string;
  pool: string;
  /** Milliseconds since 1970. */
  at: number;
  /** What it occupies, on `btrfs` with the blocks that it shares and without snapshots; null where unknown. */
  bytes: number | null;
  /** Whether the container of that name took over from it; else it may be the only copy. */
  isReplaced: boolean;
}

/** Drivers on which du(1) sees a container's files, running or not. */
const MEASURED = ["dir", "btrfs"];

/** Parked instances and what they occupy, by one du over all of them within the deadline (ms). */
export async function lookAtParked(
  instances: readonly Instance[],
  pools: readonly StoragePool[],
  files: HostFiles | undefined,
  deadline: number,
): Promise<ParkedHealth[]> {
  const found = instances.flatMap((instance): (ParkedHealth & { paths: string[] })[] => {
    const record = parkedRecordOf(instance);
    if (!record || record.name === instance.name) return [];
    const { name, project } = instance;
    const pool = rootDisk(instance.expanded_devices)?.pool ?? "";
    const driver = pools.find((one) => one.name === pool)?.driver ?? "";
    const segments = volumeSegments(pool, project, name);
    const [parent = "", , , directory = ""] = segments;
    // The snapshots first: where the volume was measured in time, so were they, if there are any.
    const paths = [[parent, pool, "containers-snapshots", directory], segments];
    const named = instances.find((one) => one.project === project && one.name === record.name);
    return [
      {
        ...{ name, project, of: record.name, reason: record.reason, pool },
        at: Date.parse(record.at),
        bytes: null,
        isReplaced: named !== undefined && isSuccessor(named, instance),
        paths:
          files && instance.type === "container" && MEASURED.includes(driver)
            ? paths.map((path) => files.daemonPath(...path))
            : [],
      },
    ];
  });
  const sizes = files
    ? await files.measure(
        found.flatMap(({ paths }) => paths),
        deadline,
      )
    : new Map<string, number | null>();
  return found.map(({ paths: [snapshots = "", volume = ""], ...parked }) => {
    const bytes = sizes.get(volume) ?? null;
    return { ...parked, bytes: bytes === null ? null : bytes + (sizes.get(snapshots) ?? 0) };
  });
}
