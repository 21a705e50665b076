import { formatBytes } from "@taos-hosts/providers";
import { describeCost } from "../plan/cost.ts";
import type { Action, ContainerRow, HostPlan } from "../plan/plan.ts";

/** Rows to which nothing happens are shown one by one up to here; beyond it they are counted by pool. */
const QUIET_ROWS = 20;

/** What the cells of a row are. */
export const COLUMNS = ["container", "pool", "prot.", "size", "snap.", "what would happen", "why not"];

/** How much would be done, or `nothing to do`. */
export function summary({ unreachable, actions, refusals }: HostPlan): string {
  if (unreachable !== null) return "not reached, left as it is";
  const errors = refusals.filter(({ severity }) => severity === "error").length;
  const held = refusals.length - errors;
  const parts = [
    actions.length === 0 ? "nothing to do" : `${actions.length} to do`,
    ...(held > 0 ? [`${held} waiting for an opt-in or a pool`] : []),
    ...(errors > 0 ? [`${errors} refused`] : []),
  ];
  return parts.join(", ");
}

export function poolLine({ pool }: HostPlan): string {
  const size = pool.sizeBytes === null ? "" : `, ${formatBytes(pool.sizeBytes)}`;
  const free = pool.freeBytes === null ? "free space unknown" : `${formatBytes(pool.freeBytes)} free`;
  return `pool ${pool.name}: ${pool.driver ?? "none"}${size}, ${free}, mode ${pool.mode}`;
}

/** Where `incus launch` goes, a line for each project. */
export function launchLines({ launches }: HostPlan): string[] {
  return launches.map(({ project, pool, driver, networks }) => {
    const where =
      pool === null ? "no pool (name one with --storage)" : `pool ${pool} (${driver ?? "unknown"})`;
    const net = networks.length === 0 ? "no network" : `network ${networks.join(", ")}`;
    const scope = project === "default" ? "" : ` in project ${project}`;
    return `launches${scope} go to ${where}, ${net}, by the default profile`;
  });
}

/** Rows worth a line of their own, each as its cells, and one line for each group of the others. */
export function rowsOf({ containers }: HostPlan): { rows: string[][]; groups: string[] } {
  const quiet = containers.filter(
    (row) => row.action === null && row.listed !== "containers" && row.parkedOf === null,
  );
  if (quiet.length <= QUIET_ROWS) return { rows: containers.map(cells), groups: [] };
  const groups = Map.groupBy(quiet, poolOf);
  return {
    rows: containers.filter((row) => !quiet.includes(row)).map(cells),
    groups: [...groups].map(([pool, rows]) => groupLine(pool, rows)),
  };
}

function cells(row: ContainerRow): string[] {
  const state = row.status === "Running" ? "" : ` (${row.status.toLowerCase()})`;
  return [
    `${row.name}${state}`,
    poolOf(row),
    row.protected ? "yes" : "no",
    row.bytes === null ? "-" : formatBytes(row.bytes + (row.snapshotBytes ?? 0)),
    String(row.snapshots),
    row.action ?? "nothing",
    row.whyNot ?? "",
  ];
}

function poolOf({ pool, driver }: ContainerRow): string {
  return driver === "" ? pool : `${pool} (${driver})`;
}

function groupLine(pool: string, rows: ContainerRow[]): string {
  const known = rows.filter(({ bytes }) => bytes !== null);
  const bytes = known.reduce((sum, row) => sum + (row.bytes ?? 0) + (row.snapshotBytes ?? 0), 0);
  const snapshots = rows.reduce((sum, row) => sum + row.snapshots, 0);
  const more = known.length < rows.length ? " or more" : "";
  const size = known.length === 0 ? "size unknown" : `${formatBytes(bytes)}${more}`;
  return `${rows.length} more on pool ${pool}: ${size}, ${snapshots} snapshots, nothing happens to them`;
}

export function actionLine({ object, kind, reason, cost }: Action): string {
  return `${object}: ${kind}: ${reason}${cost ? ` (${describeCost(cost)}${spaceWords(cost)})` : ""}`;
}

function spaceWords({ spaceNeeded, sharesImage, spaceThere }: NonNullable<Action["cost"]>): string {
  if (spaceNeeded === null || spaceThere === null) return "";
  return `; needs ${sharesImage ? "at most " : ""}${formatBytes(spaceNeeded)} of ${formatBytes(spaceThere)}`;
}

export function refusalLine({ object, reason, remedy }: HostPlan["refusals"][number]): string {
  return `${object}: ${reason}. ${remedy}`;
}
