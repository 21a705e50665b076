import { isDeepStrictEqual } from "node:util";
import type * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { CancelledError, IncusApiError, isNotFound, messageOf, VisibleError } from "../common/errors.ts";
import { clientFor, type IncusClient } from "../incus/client.ts";
import { HostConnection } from "../incus/connection.ts";

/** Stands for a value that a preview does not know yet, at any depth (pulumi/sdk/nodejs/runtime/rpc.ts). */
const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** Version of the layout of outs; older ones must stay readable. */
const SCHEMA_VERSION = 1;

/** Arguments that every resource has. */
export const CommonArgs = z.object({
  host: HostConnection,
  /** The ownership mark written on what this resource creates (see ownership.ts). */
  owner: z.string().min(1),
  /** Why nothing may be done to this host in this run: a write is refused with it. Never kept in state. */
  hold: z.string().optional(),
  /** What the plan says will be done; a host that has changed since is refused. Never kept in state. */
  expect: z.string().optional(),
});
export type CommonArgs = z.infer<typeof CommonArgs>;

/** A resource's constructor arguments: its schema's input, each field possibly an output of another resource. */
export type InputsOf<Schema extends z.ZodType> = {
  [Key in keyof z.input<Schema>]: pulumi.Input<z.input<Schema>[Key]>;
};

/** Fields that every state has beside the args. */
export interface CommonState {
  /** Why the host could not be looked at by the last refresh; absent when it could. */
  unreachable?: string | undefined;
  /** Differences on the host from what was set, as of the last refresh; never with values of secrets. */
  drift?: string[];
}

export interface DiffResult {
  changes: boolean;
  /** Names of the args that force a replacement; deleteBeforeReplace is always set since names are fixed. */
  replaces?: string[];
}

export interface CheckFailure {
  property: string;
  reason: string;
}

/** One resource's lifecycle, with parsed args. States are plain JSON and hold the args under the same names. */
export interface Lifecycle<Args extends CommonArgs, State extends Args & CommonState> {
  /** Parses args; may fill in defaults. */
  args: z.ZodType<Args>;
  /** Rules that need more than one field, or local files; without network. @returns messages with their argument */
  check?(args: Args): CheckFailure[] | Promise<CheckFailure[]>;
  /**
   * Compares what is (the state as the last refresh saw it) with what is wanted. No network.
   * @param expected what the plan says will be done; undefined where there is none
   */
  diff(state: State, args: Args, expected?: string): DiffResult;
  create(args: Args, client: IncusClient, expected?: string): Promise<{ id: string; state: State }>;
  /** What is on the host now, or undefined where it is gone. */
  read(id: string, state: State, client: IncusClient): Promise<State | undefined>;
  update(id: string, state: State, args: Args, client: IncusClient, expected?: string): Promise<State>;
  delete(id: string, state: State, client: IncusClient): Promise<void>;
}

/**
 * Thrown by create or update when the object exists but is not as wanted: Pulumi keeps `state`, and the next `up`
 * calls update. `state` must make `diff` report changes, since a refresh forgets that there was an error.
 */
export class PartialFailure<State> extends VisibleError {
  readonly id: string;
  readonly state: State;

  constructor(message: string, id: string, state: State, options?: { cause?: unknown }) {
    super(message, options);
    this.id = id;
    this.state = state;
  }
}

/** The methods as Pulumi's dynamic provider calls them. Props carry `__provider`, secrets in clear, unknowns as UNKNOWN. */
export interface DynamicProvider {
  check(olds: unknown, news: unknown): Promise<{ inputs: unknown; failures: CheckFailure[] }>;
  diff(
    id: string,
    olds: unknown,
    news: unknown,
  ): Promise<{ changes: boolean; replaces: string[]; deleteBeforeReplace: boolean }>;
  create(inputs: unknown): Promise<{ id: string; outs: unknown }>;
  read(id: string, props: unknown): Promise<{ id: string; props?: unknown }>;
  update(id: string, olds: unknown, news: unknown): Promise<{ outs: unknown }>;
  delete(id: string, props: unknown): Promise<void>;
}

const Props = z.record(z.string(), z.unknown());

/** Wraps a lifecycle into the methods of a dynamic provider, closing the traps of that interface in one place. */
export function dynamicProvider<Args extends CommonArgs, State extends Args & CommonState>(
  kind: string,
  lifecycle: Lifecycle<Args, State>,
): DynamicProvider {
  const parse = (raw: unknown): Args => {
    const parsed = lifecycle.args.safeParse(strip(raw));
    if (parsed.success) return parsed.data;
    const issue = parsed.error.issues[0];
    throw new VisibleError(`${kind}: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid"}`);
  };
  const stateOf = (raw: unknown): State => strip(raw) as State;
  // Arguments about this run only: check takes them out of what is kept, create and update of the same process see
  // them. Owner marks are unique per object of a kind.
  const thisRun = new Map<string, { hold?: string; expect?: string }>();
  const takeThisRun = (args: Args): string | undefined => {
    const { hold, expect } = thisRun.get(args.owner) ?? {};
    if (hold !== undefined) throw new VisibleError(hold);
    return expect;
  };

  return {
    async check(_olds, news) {
      const props = Props.parse(news);
      const entry: { hold?: string; expect?: string } = {};
      for (const key of ["hold", "expect"] as const) {
        const value = props[key];
        if (typeof value === "string" && value !== UNKNOWN) entry[key] = value;
        delete props[key];
      }
      thisRun.set(String(props["owner"]), entry);
      const { __provider, ...raw } = props;
      const parsed = lifecycle.args.safeParse(raw);
      if (!parsed.success) {
        const failures = parsed.error.issues
          .filter((issue) => !containsUnknown(valueAt(raw, issue.path)))
          .map((issue) => ({
            property: String(issue.path[0] ?? ""),
            reason: `${issue.path.join(".")}: ${issue.message}`,
          }));
        return { inputs: props, failures };
      }
      if (containsUnknown(raw)) return { inputs: props, failures: [] };
      return { inputs: props, failures: (await lifecycle.check?.(parsed.data)) ?? [] };
    },

    async diff(id, olds, news) {
      const oldProps = Props.parse(olds);
      const newProps = Props.parse(news);
      const providerChanged = oldProps["__provider"] !== newProps["__provider"];
      if (containsUnknown(strip(news))) return { changes: true, replaces: [], deleteBeforeReplace: true };
      const args = parse(news);
      const state = stateOf(olds);
      const commonChanged =
        state.unreachable !== undefined ||
        state.owner !== args.owner ||
        !isDeepStrictEqual(state.host, args.host);
      const result = lifecycle.diff(state, args, thisRun.get(args.owner)?.expect);
      for (const difference of state.drift ?? [])
        announce(`${args.host.name}: ${kind} ${id}: drift: ${difference}`);
      return {
        changes: providerChanged || commonChanged || result.changes,
        replaces: result.replaces ?? [],
        deleteBeforeReplace: true,
      };
    },

    async create(inputs) {
      const args = parse(inputs);
      return guarded(kind, args.host, inputs, async (client) => {
        const { id, state } = await lifecycle.create(args, client, takeThisRun(args));
        return { id: String(id), outs: plain(state) };
      });
    },

    async read(id, props) {
      const state = stateOf(props);
      try {
        const fresh = await lifecycle.read(id, state, clientFor(state.host));
        if (!fresh) return { id: "" };
        const { unreachable: _unreachable, ...seen } = fresh;
        return { id, props: withProvider(props, plain(seen)) };
      } catch (error) {
        if (!(error instanceof VisibleError) || error instanceof CancelledError)
          throw visible(kind, state.host, error);
        // One host that is down, hangs or refuses must not end the refresh of the others, and with it the whole run:
        // diff reports it, update fails with it.
        return { id, props: withProvider(props, plain({ ...state, unreachable: error.message })) };
      }
    },

    async update(id, olds, news) {
      const args = parse(news);
      return guarded(kind, args.host, news, async (client) => {
        const state = await lifecycle.update(id, stateOf(olds), args, client, takeThisRun(args));
        const { unreachable: _unreachable, ...rest } = state;
        return { outs: plain(rest) };
      });
    },

    async delete(id, props) {
      const state = stateOf(props);
      await guarded(kind, state.host, props, async (client) => {
        // A replacement deletes before it creates: what is held back from creating must not be deleted either.
        const { hold } = thisRun.get(state.owner) ?? {};
        if (hold !== undefined) throw new VisibleError(hold);
        try {
          await lifecycle.delete(id, state, client);
        } catch (error) {
          if (!isNotFound(error)) throw error;
        }
      });
    },
  };
}

const announced = new Set<string>();

/** Says once per run what Pulumi itself does not show of a dynamic resource: why it is updated. */
function announce(line: string): void {
  if (announced.has(line)) return;
  announced.add(line);
  process.stdout.write(`${line}\n`);
}

/** Runs a write and turns what it throws into errors that Pulumi shows well and that lose nothing. */
async function guarded<T>(
  kind: string,
  host: HostConnection,
  inputs: unknown,
  task: (client: IncusClient) => Promise<T>,
): Promise<T> {
  try {
    return await task(clientFor(host));
  } catch (thrown) {
    const error = withoutSecrets(thrown, secretsIn(inputs));
    if (error instanceof PartialFailure) {
      const failure = visible(kind, host, new VisibleError(error.message));
      throw Object.assign(failure, {
        id: error.id,
        properties: withProvider(inputs, plain(error.state)),
        reasons: [failure.message],
      });
    }
    throw visible(kind, host, error);
  }
}

/** Texts shorter than this are part of too much else to be a secret. */
const SHORTEST_SECRET = 4;

/** Texts of a resource's args that are secrets: values of the environment, content of files, and what `secretProps` names. */
function secretsIn(inputs: unknown): string[] {
  const { environment, files, secretProps, ...others } = Props.safeParse(inputs).data ?? {};
  const named = textsIn(secretProps);
  const contents = Array.isArray(files)
    ? files.flatMap(({ content, contentBase64 }) => textsIn([content, contentBase64]))
    : [];
  const found = [...textsIn(environment), ...contents, ...named.flatMap((name) => textsIn(others[name]))];
  // What is told anyway is none: a message would only lose the name of a pool.
  const told = new Set(textsIn(Object.entries(others).filter(([name]) => !named.includes(name))));
  const secrets = found.filter((text) => text.length >= SHORTEST_SECRET && !told.has(text));
  return secrets.sort((one, other) => other.length - one.length);
}

function textsIn(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(textsIn) : [];
}

/** An error whose message holds none of the secrets: Incus quotes values that it refuses. */
function withoutSecrets(error: unknown, secrets: readonly string[]): unknown {
  if (!(error instanceof Error) || !secrets.some((secret) => error.message.includes(secret))) return error;
  error.message = secrets.reduce((text, secret) => text.replaceAll(secret, "[secret]"), error.message);
  return error;
}

/** Error for the person: names the host, has no stack and no stray `id` field, which Pulumi would take for a partial failure. */
function visible(kind: string, host: HostConnection, error: unknown): Error {
  const text = messageOf(error);
  const known = error instanceof VisibleError;
  const named = text.includes(`"${host.name}"`) ? text : `Host "${host.name}": ${text}`;
  const message = known || error instanceof IncusApiError ? named : `${kind}: unexpected error. ${named}`;
  const result = new Error(message);
  result.stack = message;
  return result;
}

function strip(raw: unknown): Record<string, unknown> {
  const { __provider, ...props } = Props.parse(raw ?? {});
  return props;
}

/** Pulumi does not add `__provider` to refreshed or partial state by itself; without it later operations cannot load us. */
function withProvider(source: unknown, outs: Record<string, unknown>): Record<string, unknown> {
  const provider = Props.parse(source)["__provider"];
  return provider === undefined ? outs : { ...outs, __provider: provider };
}

/** Plain JSON: undefined fields dropped. Anything else that JSON cannot hold is our bug and fails here, not in state. */
function plain(state: object): Record<string, unknown> {
  return Props.parse(JSON.parse(JSON.stringify({ ...state, schemaVersion: SCHEMA_VERSION })));
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let value = root;
  for (const key of path) {
    if (value === UNKNOWN) return UNKNOWN;
    if (typeof value !== "object" || value === null) return undefined;
    value = Reflect.get(value, key);
  }
  return value;
}

function containsUnknown(value: unknown): boolean {
  if (value === UNKNOWN) return true;
  if (typeof value !== "object" || value === null) return false;
  return Object.values(value).some(containsUnknown);
}
