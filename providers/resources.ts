import * as pulumi from "@pulumi/pulumi";
import type { z } from "zod";
import { warmImage } from "./image/warm-image.ts";
import { instance } from "./instance/instance.ts";
import { network } from "./network/network.ts";
import { instancePlacement } from "./placement/instance-placement.ts";
import { storagePool } from "./pool/storage-pool.ts";
import { profileDevices } from "./profile/profile-devices.ts";
import type { ResourceDefinition } from "./pulumi/definition.ts";
import { shimText } from "./pulumi/shim.ts";

/** A resource's constructor arguments: its schema's input, each field possibly an output of another resource. */
export type InputsOf<Schema extends z.ZodType> = {
  [Key in keyof z.input<Schema>]: pulumi.Input<z.input<Schema>[Key]>;
};

/** A class of resources; their type in Pulumi is `pulumi-nodejs:dynamic/incus:KIND`, that of a `pulumi.dynamic.Resource`. */
export type ResourceClass<Schema extends z.ZodType, State, Output extends keyof State> = new (
  name: string,
  args: InputsOf<Schema>,
  opts?: pulumi.CustomResourceOptions,
) => pulumi.CustomResource & { readonly [Key in Output]: pulumi.Output<State[Key]> };

/** Arg with names of more args that are secrets. */
const SECRET_PROPS = "secretProps";

function resourceClass<Schema extends z.ZodType, State, Output extends keyof State & string>({
  kind,
  outputs,
  secrets,
}: ResourceDefinition<Schema, State, Output>): ResourceClass<Schema, State, Output> {
  class Resource extends pulumi.CustomResource {
    constructor(name: string, args: Record<string, unknown>, opts?: pulumi.CustomResourceOptions) {
      const more = args[SECRET_PROPS];
      const named = Array.isArray(more) ? more.map(String) : [];
      const props = {
        ...Object.fromEntries(outputs.map((output) => [output, undefined])),
        ...args,
        ...Object.fromEntries(
          secrets.filter((key) => args[key] !== undefined).map((key) => [key, pulumi.secret(args[key])]),
        ),
        __provider: shimText(kind),
      };
      const additionalSecretOutputs = [...secrets, ...named, ...(opts?.additionalSecretOutputs ?? [])];
      super(`pulumi-nodejs:dynamic/incus:${kind}`, name, props, { ...opts, additionalSecretOutputs });
    }
  }
  return Resource as unknown as ResourceClass<Schema, State, Output>;
}

/** See `StoragePoolArgs` in pool/pool-args.ts. */
export const StoragePool = resourceClass(storagePool);
export type StoragePool = InstanceType<typeof StoragePool>;
/** See `NetworkArgs` in network/network.ts. */
export const Network = resourceClass(network);
export type Network = InstanceType<typeof Network>;
/** See `ProfileDevicesArgs` in profile/profile-devices.ts. */
export const ProfileDevices = resourceClass(profileDevices);
export type ProfileDevices = InstanceType<typeof ProfileDevices>;
/** See `WarmImageArgs` in image/image-args.ts. */
export const WarmImage = resourceClass(warmImage);
export type WarmImage = InstanceType<typeof WarmImage>;
/** See `InstanceArgs` in instance/config.ts. */
export const Instance = resourceClass(instance);
export type Instance = InstanceType<typeof Instance>;
/** See `InstancePlacementArgs` in placement/instance-placement.ts. */
export const InstancePlacement = resourceClass(instancePlacement);
export type InstancePlacement = InstanceType<typeof InstancePlacement>;
