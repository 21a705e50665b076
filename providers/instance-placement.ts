import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { changedFields } from "./drift.ts";
import { VisibleError } from "./errors.ts";
import type { IncusClient } from "./incus/client.ts";
import { listInstances } from "./incus/instances.ts";
import type { Instance } from "./incus/schemas.ts";
import { shared } from "./incus/shared.ts";
import { InstanceName, nearestNames, ObjectName, PoolName } from "./names.ts";
import { CommonArgs, type CommonState, dynamicProvider, type InputsOf, type Lifecycle } from "./resource.ts";
import { inheritsRoot, qualifiedName, rootDisk } from "./root-disk.ts";
import { shim } from "./shim.ts";

/** An existing container and the pool it should be on. Without an opt-in it is looked at and nothing is written. */
export const InstancePlacementArgs = CommonArgs.extend({
  project: ObjectName.default("default"),
  name: InstanceName,
  protected: z.boolean().default(true),
  /** Pool to migrate to. */
  target: PoolName,
  migrate: z.boolean().default(false),
  pinRoot: z.boolean().default(false),
  removeParked: z.boolean().default(false),
  forceStop: z.boolean().default(false),
  /** Milliseconds. */
  stopTimeout: z.number().int().positive().default(60_000),
  health: z.array(z.string().min(1)).min(1).optional(),
  /** Containers of this host that may move at the same time. */
  migrateParallel: z.number().int().min(1).default(1),
});
export type InstancePlacementArgs = z.infer<typeof InstancePlacementArgs>;

interface InstancePlacementState extends InstancePlacementArgs, CommonState {
  pool: string;
  status: string;
  inheritsRoot: boolean;
}

async function find(args: InstancePlacementArgs, client: IncusClient): Promise<Instance | undefined> {
  const instances = await shared(client, "instances", listInstances);
  return instances.find(({ name, project }) => name === args.name && project === args.project);
}

function stateOf(args: InstancePlacementArgs, live: Instance): InstancePlacementState {
  const pool = rootDisk(live.expanded_devices)?.pool ?? "";
  return { ...args, schemaVersion: 1, pool, status: live.status, inheritsRoot: inheritsRoot(live) };
}

async function observe(args: InstancePlacementArgs, client: IncusClient): Promise<InstancePlacementState> {
  const live = await find(args, client);
  if (!live) {
    const names = (await shared(client, "instances", listInstances)).map(qualifiedName);
    const near = nearestNames(args.name, names);
    throw new VisibleError(
      `There is no container "${args.name}" in project "${args.project}". ${near.length > 0 ? `Nearest: ${near.join(", ")}. ` : ""}Correct the name under containers, or remove it.`,
    );
  }
  return stateOf(args, live);
}

const lifecycle: Lifecycle<InstancePlacementArgs, InstancePlacementState> = {
  args: InstancePlacementArgs,
  diff(state, args) {
    const moved = (["name", "project"] as const).filter((key) => state[key] !== args[key]);
    if (moved.length > 0) return { changes: true, replaces: moved };
    return { changes: changedFields(state, args).length > 0 };
  },
  async create(args, client) {
    return { id: `${args.project}/${args.name}`, state: await observe(args, client) };
  },
  async read(_id, state, client) {
    const live = await find(state, client);
    return live ? stateOf(state, live) : undefined;
  },
  update: (_id, _state, args, client) => observe(args, client),
  delete: () => Promise.resolve(),
};

export const instancePlacementProvider = dynamicProvider("InstancePlacement", lifecycle);

const provider = shim("InstancePlacement");

/** See {@link InstancePlacementArgs}. */
export class InstancePlacement extends pulumi.dynamic.Resource {
  declare readonly pool: pulumi.Output<string>;

  constructor(name: string, args: InputsOf<typeof InstancePlacementArgs>, opts?: pulumi.CustomResourceOptions) {
    super(provider, name, { ...args, pool: undefined }, opts, "incus", "InstancePlacement");
  }
}
