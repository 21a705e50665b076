import { isDeepStrictEqual } from "node:util";
import type { z } from "zod";
import { CancelledError, isNotFound, VisibleError } from "../common/errors.ts";
import { clientFor } from "../incus/client.ts";
import type { CheckFailure, CommonArgs, CommonState, Lifecycle } from "./lifecycle.ts";
import { containsUnknown, Props, plain, strip, UNKNOWN, valueAt, withProvider } from "./props.ts";
import { guarded, visible } from "./write-errors.ts";

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

/** Wraps a lifecycle into the methods of a dynamic provider, closing the traps of that interface in one place. */
export function dynamicProvider<Args extends CommonArgs, State extends Args & CommonState>(
  kind: string,
  schema: z.ZodType<Args>,
  lifecycle: Lifecycle<Args, State>,
): DynamicProvider {
  const parse = (raw: unknown): Args => {
    const parsed = schema.safeParse(strip(raw));
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
      const parsed = schema.safeParse(raw);
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
