import { z } from "zod";
import { VisibleError } from "../common/errors.ts";
import { InstanceName, nearestNames, ObjectName } from "../common/names.ts";
import type { IncusClient } from "../incus/client.ts";
import { listInstances } from "../incus/instances.ts";
import type { Instance } from "../incus/schemas.ts";
import { shared } from "../incus/shared.ts";
import { parkedNamesOf, removeParked } from "../parking/parked.ts";
import { defineResource } from "../pulumi/definition.ts";
import {
  CommonArgs,
  type CommonState,
  type DiffResult,
  type Lifecycle,
  PartialFailure,
} from "../pulumi/lifecycle.ts";
import { progressFor } from "../pulumi/progress.ts";
import { isMoveWanted, PlacementOptIns, place, type Whereabouts, whereaboutsOf } from "./placement.ts";

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
  ...PlacementOptIns.shape,
  /** Opt-in: delete the parked source. @default false */
  removeParked: z.boolean().default(false),
});
export type InstancePlacementArgs = z.output<typeof InstancePlacementArgs>;

/** What was seen on the host. No config of the container: it may hold secrets. States of 0.1 lack `undoable`. */
export interface InstancePlacementState
  extends InstancePlacementArgs,
    CommonState,
    Omit<Whereabouts, "undoable">,
    Partial<Pick<Whereabouts, "undoable">> {}

const lifecycle: Lifecycle<InstancePlacementArgs, InstancePlacementState> = {
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

function isWanted(state: InstancePlacementState, args: InstancePlacementArgs): boolean {
  return isMoveWanted(state, args) || (args.removeParked && state.parked.length > 0);
}

async function look(
  args: InstancePlacementArgs,
  client: IncusClient,
): Promise<InstancePlacementState & Whereabouts> {
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
function observed(
  args: InstancePlacementArgs,
  all: readonly Instance[],
): (InstancePlacementState & Whereabouts) | undefined {
  const where = whereaboutsOf(all, args);
  return where && { ...args, ...where };
}

/** Does what the opt-ins ask for, and nothing else. */
async function bring(
  id: string,
  before: InstancePlacementState & Whereabouts,
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
    await place(client, ref, before, args, { owner: args.owner, progress });
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

export const instancePlacement = defineResource("InstancePlacement", InstancePlacementArgs, lifecycle, [
  "pool",
  "status",
  "inheritsRoot",
  "parked",
]);
