import { z } from "zod";
import { PoolName } from "../common/names.ts";
import type { IncusClient } from "../incus/client.ts";
import { changeInstance } from "../incus/instance-patch.ts";
import type { InstanceRef } from "../incus/instances.ts";
import { rootDevice, rootPool } from "../incus/root-device.ts";
import { inheritsRoot } from "../incus/root-disk.ts";
import type { Instance } from "../incus/schemas.ts";
import { concludeWithdrawn, migrate, rollBack } from "../migration/engine.ts";
import type { MoveRequest } from "../migration/move.ts";
import { observationOf } from "../migration/observation.ts";
import { stateOf } from "../migration/situation.ts";
import type { MigrationState } from "../migration/states.ts";
import { parkedNamesOf } from "../parking/parked.ts";
import type { Progress } from "../pulumi/progress.ts";

/** Milliseconds that a container has to stop. */
const STOP_TIMEOUT = 60_000;

/** What may be done about the pool that a container is on: existing ones and agents alike. */
export const PlacementOptIns = z.object({
  /** The pool that `migrate` moves to. */
  target: PoolName.optional(),
  /** Opt-in: move to `target`. @default false */
  migrate: z.boolean().default(false),
  /** Opt-in: a local root disk that names the pool the container is on. No stop, no data. @default false */
  pinRoot: z.boolean().default(false),
  /** Opt-in: go back to the parked source of its migration; what was written since is parked. @default false */
  undo: z.boolean().default(false),
  /** Opt-in: kill the container where it ignores the stop signal. @default false */
  forceStop: z.boolean().default(false),
  /** Milliseconds that it has to stop. @default 60000 */
  stopTimeout: z.number().int().min(1_000).default(STOP_TIMEOUT),
  /** A command that must succeed in it after the migration. */
  health: z.array(z.string()).min(1).optional(),
  /** Containers of this host that move at the same time. @default 1 */
  migrateParallel: z.number().int().min(1).max(16).default(1),
});
export type PlacementOptIns = z.output<typeof PlacementOptIns>;

/** Nothing is asked for. */
export const NO_OPT_INS: PlacementOptIns = PlacementOptIns.parse({});

/** Where a container is, as the host shows it. */
export interface Whereabouts {
  /** The pool that it is on. */
  pool: string;
  status: string;
  /** Whether its root disk comes from a profile. */
  inheritsRoot: boolean;
  /** Parked instances of it, by name. */
  parked: string[];
  /** Whether there is a kept source that an undo goes back to. */
  undoable: boolean;
  /** State of an interrupted migration. */
  unfinished?: MigrationState | undefined;
}

/** Undefined where there is neither the container nor a migration of it. @param all instances of any project */
export function whereaboutsOf(all: readonly Instance[], ref: InstanceRef): Whereabouts | undefined {
  const instances = all.filter(({ project }) => project === ref.project);
  const seen = observationOf(instances, ref.name);
  const state = stateOf(seen, "");
  if (state === "absent") return undefined;
  const instance = seen.named ?? seen.source?.instance ?? seen.copy?.instance;
  if (!instance) return undefined;
  return {
    pool: rootPool(instance),
    status: instance.status,
    inheritsRoot: inheritsRoot(instance),
    parked: parkedNamesOf(instances, ref.name),
    undoable: seen.kept !== undefined,
    ...(state === "settled" ? {} : { unfinished: state }),
  };
}

/** Whether an opt-in asks for something that is not so yet, or something was begun and has to be ended. */
export function isMoveWanted(
  where: Pick<Whereabouts, "pool" | "inheritsRoot"> & Partial<Whereabouts>,
  optIns: Omit<PlacementOptIns, "stopTimeout" | "migrateParallel">,
): boolean {
  if (where.unfinished !== undefined) return true;
  if (optIns.undo && where.undoable) return true;
  if (optIns.migrate && where.pool !== optIns.target) return true;
  return optIns.pinRoot && where.inheritsRoot;
}

/** Does what the opt-ins ask for, and ends what was begun; nothing else. @throws VisibleError with the way out */
export async function place(
  client: IncusClient,
  ref: InstanceRef,
  where: Whereabouts,
  optIns: PlacementOptIns,
  { owner, progress }: { owner: string; progress: Progress },
): Promise<void> {
  const { target = where.pool, forceStop, stopTimeout, health, migrateParallel } = optIns;
  const request: MoveRequest = {
    ...{ project: ref.project, name: ref.name },
    ...{ target, forceStop, stopTimeout, health, migrateParallel, owner },
  };
  if (optIns.undo) await rollBack(client, request, { progress });
  else if (optIns.migrate) await migrate(client, request, { progress });
  else if (where.unfinished !== undefined) await concludeWithdrawn(client, request, { progress });
  if (optIns.pinRoot) await pinRoot(client, ref);
}

/** Copies the root disk that a profile gives into the container. Incus accepts it while it runs: same pool, same size. */
async function pinRoot(client: IncusClient, ref: InstanceRef): Promise<void> {
  await changeInstance(client, ref, (instance) => {
    if (!inheritsRoot(instance)) return undefined;
    const [name, root] = rootDevice(instance);
    return { devices: { ...instance.devices, [name]: root } };
  });
}
