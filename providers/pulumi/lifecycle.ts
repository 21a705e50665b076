import { z } from "zod";
import { VisibleError } from "../common/errors.ts";
import type { IncusClient } from "../incus/client.ts";
import { HostConnection } from "../incus/connection.ts";

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
