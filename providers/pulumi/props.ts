import { z } from "zod";

/** Stands for a value that a preview does not know yet, at any depth (pulumi/sdk/nodejs/runtime/rpc.ts). */
export const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** Version of the layout of outs; older ones must stay readable. */
const SCHEMA_VERSION = 1;

/** Properties as Pulumi hands them over: anything by name. */
export const Props = z.record(z.string(), z.unknown());

export function strip(raw: unknown): Record<string, unknown> {
  const { __provider, ...props } = Props.parse(raw ?? {});
  return props;
}

/** Pulumi does not add `__provider` to refreshed or partial state by itself; without it later operations cannot load us. */
export function withProvider(source: unknown, outs: Record<string, unknown>): Record<string, unknown> {
  const provider = Props.parse(source)["__provider"];
  return provider === undefined ? outs : { ...outs, __provider: provider };
}

/** Plain JSON: undefined fields dropped. Anything else that JSON cannot hold is our bug and fails here, not in state. */
export function plain(state: object): Record<string, unknown> {
  return Props.parse(JSON.parse(JSON.stringify({ ...state, schemaVersion: SCHEMA_VERSION })));
}

export function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let value = root;
  for (const key of path) {
    if (value === UNKNOWN) return UNKNOWN;
    if (typeof value !== "object" || value === null) return undefined;
    value = Reflect.get(value, key);
  }
  return value;
}

export function containsUnknown(value: unknown): boolean {
  if (value === UNKNOWN) return true;
  if (typeof value !== "object" || value === null) return false;
  return Object.values(value).some(containsUnknown);
}
