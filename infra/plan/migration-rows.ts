import {
  type HostLook,
  type InstanceLook,
  migrationMarkOf,
  parkedMarkOf,
  parkedRecordOf,
  qualifiedName,
  readJournal,
} from "@taos-hosts/providers";
import type { MigrationRow } from "./types.ts";

/** What journals tell, in the order in which a migration comes by it. */
const PHASES = [
  ...["copying", "seeding", "seeded", "stopping", "verified", "parking", "dressed", "healthy", "returning"],
] as const;

/** Migrations under way, by their journals, and past ones, by the sources that are kept: the oldest first. */
export function migrationRows({ instances }: HostLook): MigrationRow[] {
  const running = Map.groupBy(
    instances.filter((one) => migrationMarkOf(one) !== undefined),
    (one) => qualifiedName({ ...one, name: migrationMarkOf(one) ?? one.name }),
  );
  const rows = [
    ...[...running].map(([container, parts]) => underWay(container, parts)),
    ...instances.flatMap((one) => (migrationMarkOf(one) === undefined ? past(one) : [])),
  ];
  return rows.sort((a, b) => (a.at ?? "").localeCompare(b.at ?? ""));
}

function underWay(container: string, parts: readonly InstanceLook[]): MigrationRow {
  const journals = parts.flatMap((part) => journalOf(part) ?? []);
  const source = journals.find((one) => one.role === "source");
  const phases = journals.map(({ phase }) => phase).sort((a, b) => PHASES.indexOf(a) - PHASES.indexOf(b));
  return {
    container,
    kind: source?.undo ? "going-back" : "under-way",
    phase: phases.at(-1) ?? null,
    from: journals[0]?.from ?? null,
    to: journals[0]?.to ?? null,
    at: source?.startedAt ?? null,
    kept: null,
    bytes: null,
  };
}

/** Undefined where it was written by another version. */
function journalOf(instance: InstanceLook): ReturnType<typeof readJournal> {
  try {
    return readJournal(instance);
  } catch {
    return undefined;
  }
}

function past(instance: InstanceLook): MigrationRow[] {
  const record = parkedMarkOf(instance) && parkedRecordOf(instance);
  if (!record) return [];
  const { bytes, snapshotBytes } = instance;
  return [
    {
      container: qualifiedName(record),
      kind: record.reason,
      phase: null,
      from: record.pool,
      to: record.successorPool ?? null,
      at: record.at,
      kept: instance.name,
      bytes: bytes === null ? null : bytes + (snapshotBytes ?? 0),
    },
  ];
}
