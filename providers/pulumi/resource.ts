import * as pulumi from "@pulumi/pulumi";
import type { z } from "zod";
import type { CommonArgs, CommonState, Lifecycle } from "./lifecycle.ts";
import { type DynamicProvider, dynamicProvider } from "./provider.ts";
import { type Kind, shimText } from "./shim.ts";

/** A resource's constructor arguments: its schema's input, each field possibly an output of another resource. */
export type InputsOf<Schema extends z.ZodType> = {
  [Key in keyof z.input<Schema>]: pulumi.Input<z.input<Schema>[Key]>;
};

/** A class of resources for Pulumi programs, with the methods that do its work in the provider process. */
export interface ResourceClass<Schema extends z.ZodType, State, Output extends keyof State> {
  new (
    name: string,
    args: InputsOf<Schema>,
    opts?: pulumi.CustomResourceOptions,
  ): pulumi.CustomResource & { readonly [Key in Output]: pulumi.Output<State[Key]> };
  readonly provider: DynamicProvider;
}

/** Names of more args that are secrets; `sealing.ts` of the program fills it in. */
const SECRET_PROPS = "secretProps";

/**
 * A kind of resource: what it takes, what is done with it, and which fields of its state a program may read.
 * Its type in Pulumi is `pulumi-nodejs:dynamic/incus:KIND`, that of a `pulumi.dynamic.Resource`.
 * @param secrets args that are secrets whatever the program says
 */
export function defineResource<
  Schema extends z.ZodType<CommonArgs>,
  State extends z.output<Schema> & CommonState,
  Output extends keyof State & string,
>(
  kind: Kind,
  schema: Schema,
  lifecycle: Lifecycle<z.output<Schema>, State>,
  outputs: readonly Output[],
  secrets: readonly string[] = [],
): ResourceClass<Schema, State, Output> {
  class Resource extends pulumi.CustomResource {
    static readonly provider = dynamicProvider(kind, schema, lifecycle);

    constructor(name: string, args: Record<string, unknown>, opts?: pulumi.CustomResourceOptions) {
      const more = args[SECRET_PROPS];
      const named = Array.isArray(more) ? more.map(String) : [];
      const hidden = [...secrets, ...named, ...(opts?.additionalSecretOutputs ?? [])];
      const props = {
        ...Object.fromEntries(outputs.map((output) => [output, undefined])),
        ...args,
        ...Object.fromEntries(
          secrets.filter((key) => args[key] !== undefined).map((key) => [key, pulumi.secret(args[key])]),
        ),
        __provider: shimText(kind),
      };
      super(`pulumi-nodejs:dynamic/incus:${kind}`, name, props, { ...opts, additionalSecretOutputs: hidden });
    }
  }
  return Resource as unknown as ResourceClass<Schema, State, Output>;
}
