import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { VisibleError } from "./errors.ts";
import type { IncusClient } from "./incus/client.ts";
import { listInstances } from "./incus/instances.ts";
import type { Instance } from "./incus/schemas.ts";
import { shared } from "./incus/shared.ts";
import { concludeWithdrawn, migrate, rollBack } from "./migration/engine.ts";
import { changeInstance } from "./migration/instance-patch.ts";
import type { MoveRequest } from "./migration/move.ts";
import { observationOf } from "./migration/observation.ts";
import { parkedNamesOf, removeParked } from "./migration/parked.ts";
import { rootDevice, rootPool } from "./migration/root-device.ts";
import { situationOf } from "./migration/situation.ts";
import { deriveState, type MigrationState } from "./migration/states.ts";
import { InstanceName, nearestNames, ObjectName, PoolName } from "./names.ts";
import { progressFor } from "./progress.ts";
import {
  CommonArgs,
  type CommonState,
  type DiffResult,
  dynamicProvider,
  type InputsOf,
  type Lifecycle,
  PartialFailure,
} from "./resource.ts";
import { inheritsRoot } from "./root-disk.ts";
import { shim } from "./shim.ts";

/** Milliseconds that a container has to stop. */
const STOP_TIMEOUT = 60_000;

/**
 * An existing container and the pool that it should be on. Without opt-in this records where it is and writes
 * nothing; it never creates, replaces or deletes a container.
 *
 * @example
 * new InstancePlacement("orange-1/mary", { host, owner, name: "mary", target: "default-cow", migrate: true });
 */
export const InstancePlacementArgs = CommonArgs.extend({
  /** Incus project. @default "default" */
  project: ObjectName.default("default"),
  name: InstanceName,
  /** @default true */
  protected: z.boolean().default(true),
  /** The pool that `migrate` moves to. */
  target: PoolName.optional(),
  /** The pool that the stack's containers come from; for the report only. */
  oldPool: z.string().optional(),
  /** Opt-in: move to `target`. @default false */
  migrate: z.boolean().default(false),
  /** Opt-in: a local root disk that names the pool the container is on. No stop, no data. @default false */
  pinRoot: z.boolean().default(false),
  /** Opt-in: go back to the parked source of its migration; what was written since is parked. @default false */
  undo: z.boolean().default(false),
  /** Opt-in: delete the parked source. @default false */
  removeParked: z.boolean().default(false),
  /** Opt-in: kill the container where it ignores the stop signal. @default false */
  forceStop: z.boolean().default(false),
  /** Milliseconds that it has to stop. @default 60000 */
  stopTimeout: z.number().int().min(1_000).default(STOP_TIMEOUT),
  /** A command that must succeed in it after the migration. */
  health: z.array(z.string()).min(1).optional(),
  /** Containers of this host that move at the same time. @default 1 */
  migrateParallel: z.number().int().min(1).max(16).default(1),
});
export type InstancePlacementArgs = z.output<typeof InstancePlacementArgs>;

/** What was seen on the host. No config of the container: it may hold secrets. */
export interface InstancePlacementState extends InstancePlacementArgs, CommonState {
  /** The pool that it is on. */
  pool: string;
  status: string;
  /** Whether its root disk comes from a profile. */
  inheritsRoot: boolean;
  /** Parked sources of it, by name. */
  parked: string[];
  /** Whether there is a kept source that an undo goes back to. */
  undoable?: boolean | undefined;
  /** State of an interrupted migration. */
  unfinished?: MigrationState | undefined;
}

const instancePlacement: Lifecycle<InstancePlacementArgs, InstancePlacementState> = {
  args: InstancePlacementArgs,

  check(args) {
    if (args.migrate && args.undo)
      return [{ property: "undo", reason: `"${args.name}" cannot be migrated and put back at once` }];
    if (args.migrate && args.target === undefined) {
      return [
        { property: "target", reason: `"${args.name}" is to be migrated, but no target pool is given` },
      ];
    }
    return [];
  },

  diff(state, args): DiffResult {
    const other = state.name !== args.name || state.project !== args.project;
    return { changes: other || isWanted(state, args) };
  },

  async create(args, client) {
    const id = `${args.project}/${args.name}`;
    return { id, state: await bring(id, await look(args, client), args, client) };
  },

  async read(_id, state, client) {
    const { unfinished: _unfinished, ...rest } = state;
    return observed(rest, await shared(client, "instances", listInstances));
  },

  async update(id, state, args, client) {
    if (state.name !== args.name || state.project !== args.project) {
      throw new VisibleError(
        `This placement is of "${state.name}" and cannot become one of "${args.name}". Declare the other one by its own name.`,
      );
    }
    return bring(id, await look(args, client), args, client);
  },

  async delete() {
    // Forgets it. The container, its parked source and its pool stay as they are.
  },
};

/** Whether an opt-in asks for something that is not so yet. */
function isWanted(state: InstancePlacementState, args: InstancePlacementArgs): boolean {
  if (state.unfinished !== undefined) return true;
  if (args.undo && state.undoable) return true;
  if (args.migrate && state.pool !== args.target) return true;
  if (args.pinRoot && state.inheritsRoot) return true;
  return args.removeParked && state.parked.length > 0;
}

async function look(args: InstancePlacementArgs, client: IncusClient): Promise<InstancePlacementState> {
  const instances = await listInstances(client);
  const state = observed(args, instances);
  if (state) return state;
  const names = instances.filter(({ project }) => project === args.project).map(({ name }) => name);
  const elsewhere = instances.find(({ name }) => name === args.name);
  const near = nearestNames(args.name, names);
  const [parked] = parkedNamesOf(
    instances.filter(({ project }) => project === args.project),
    args.name,
  );
  const hint = parked
    ? `Its parked source "${parked}" is there; "incus rename ${parked} ${args.name}" gives it its name back.`
    : elsewhere
      ? `Project "${elsewhere.project}" has one: set "project".`
      : near.length > 0
        ? `Did you mean ${near.map((name) => `"${name}"`).join(" or ")}?`
        : `The project has ${names.length === 0 ? "no instances" : names.slice(0, 10).join(", ")}.`;
  throw new VisibleError(`There is no container "${args.name}" in project "${args.project}". ${hint}`);
}

/** Undefined where there is neither the container nor a migration of it. */
function observed(args: InstancePlacementArgs, all: readonly Instance[]): InstancePlacementState | undefined {
  const instances = all.filter(({ project }) => project === args.project);
  const seen = observationOf(instances, args.name);
  const state = deriveState(situationOf(seen, ""));
  if (state === "absent") return undefined;
  const instance = seen.named ?? seen.source?.instance ?? seen.copy?.instance;
  if (!instance) return undefined;
  return {
    ...args,
    schemaVersion: 1,
    pool: rootPool(instance),
    status: instance.status,
    inheritsRoot: inheritsRoot(instance),
    parked: parkedNamesOf(instances, args.name),
    undoable: seen.kept !== undefined,
    ...(state === "settled" ? {} : { unfinished: state }),
  };
}

/** Does what the opt-ins ask for, and nothing else. */
async function bring(
  id: string,
  before: InstancePlacementState,
  args: InstancePlacementArgs,
  client: IncusClient,
): Promise<InstancePlacementState> {
  const progress = progressFor(args.host.name, args.name);
  const ref = { project: args.project, name: args.name };
  const now = async (): Promise<InstancePlacementState> => look(args, client);
  try {
    // First the parked one of an earlier migration; the one that this run parks stays for the next.
    if (args.removeParked && before.parked.length > 0 && before.unfinished === undefined) {
      await removeParked(client, ref, progress);
    }
    const request: MoveRequest = {
      ...ref,
      target: args.target ?? before.pool,
      ...{ forceStop: args.forceStop, stopTimeout: args.stopTimeout, health: args.health },
      ...{ migrateParallel: args.migrateParallel, owner: args.owner },
    };
    if (args.undo) await rollBack(client, request, { progress });
    else if (args.migrate) await migrate(client, request, { progress });
    else if (before.unfinished !== undefined) await concludeWithdrawn(client, request, { progress });
    if (args.pinRoot) await pinRoot(client, ref);
  } catch (error) {
    const state = await now().catch(() => undefined);
    // What is left half-way must be in the state, or the next run would not see that there is something to do.
    if (state?.unfinished !== undefined && error instanceof VisibleError) {
      throw new PartialFailure(error.message, id, state, { cause: error });
    }
    throw error;
  }
  return now();
}

/** Copies the root disk that a profile gives into the container. Incus accepts it while it runs: same pool, same size. */
async function pinRoot(client: IncusClient, ref: { project: string; name: string }): Promise<void> {
  await changeInstance(client, ref, (instance) => {
    if (!inheritsRoot(instance)) return undefined;
    const [name, root] = rootDevice(instance);
    return { devices: { ...instance.devices, [name]: root } };
  });
}

export const instancePlacementProvider = dynamicProvider("InstancePlacement", instancePlacement);

const provider = shim("InstancePlacement");

/** See {@link InstancePlacementArgs}. */
export class InstancePlacement extends pulumi.dynamic.Resource {
  declare readonly pool: pulumi.Output<string>;
  declare readonly status: pulumi.Output<string>;
  declare readonly inheritsRoot: pulumi.Output<boolean>;
  declare readonly parked: pulumi.Output<string[]>;

  constructor(
    name: string,
    args: InputsOf<typeof InstancePlacementArgs>,
    opts?: pulumi.CustomResourceOptions,
  ) {
    const outputs = { pool: undefined, status: undefined, inheritsRoot: undefined, parked: undefined };
    super(provider, name, { ...args, ...outputs }, opts, "incus", "InstancePlacement");
  }
}
