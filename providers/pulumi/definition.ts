import type { z } from "zod";
import type { CommonArgs, CommonState, Lifecycle } from "./lifecycle.ts";
import { type DynamicProvider, dynamicProvider } from "./provider.ts";
import type { Kind } from "./shim.ts";

/** A kind of resource, as the provider process and `resources.ts` need it; without Pulumi's SDK, which is slow to load. */
export interface ResourceDefinition<Schema extends z.ZodType, State, Output extends keyof State> {
  readonly kind: Kind;
  readonly schema: Schema;
  /** Fields of the state that a program may read. */
  readonly outputs: readonly Output[];
  /** Args that are secrets whatever the program says. */
  readonly secrets: readonly string[];
  readonly provider: DynamicProvider;
  /** Only for the compiler: what the outputs are. */
  readonly state?: State;
}

/** A kind of resource: what it takes, what is done with it, which fields of its state a program may read, and which args are secrets. */
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
): ResourceDefinition<Schema, State, Output> {
  return { kind, schema, outputs, secrets, provider: dynamicProvider(kind, schema, lifecycle) };
}
