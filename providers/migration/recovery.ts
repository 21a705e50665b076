import {
  DeadlineError,
  IncusApiError,
  isNotFound,
  isPreconditionFailed,
  messageOf,
  UnreachableError,
  VisibleError,
} from "../common/errors.ts";
import { poll } from "../common/poll.ts";
import { type HostFiles, openHostFiles } from "../host/files.ts";
import type { IncusClient } from "../incus/client.ts";
import { getServer } from "../incus/server.ts";
import type { Move } from "./move.ts";
import { type Observation, observeAgain } from "./observation.ts";
import type { Lease } from "./record/lease.ts";
import { endOrphans } from "./record/orphans.ts";
import { settle } from "./settle.ts";
import { mendTornRenames } from "./swap/torn-rename.ts";

/** Milliseconds that a host may be away before a run gives up and leaves the rest to the next one. */
const RECONNECT_DEADLINE = 60_000;

/** Waits until the host is back and works on nothing of the migration. @throws `error` where it does not come back */
export async function recover(move: Move, seen: Observation, error: unknown): Promise<void> {
  move.progress(`interrupted (${messageOf(error)}); looking again`);
  const isBack = async (): Promise<true | undefined> => {
    try {
      await getServer(move.client);
      move.files = await hostFiles(move.client, move.request.name, move.lease);
      await endOrphans(move.files, move.lease.id);
      await settleAndMend(move, seen);
      return true;
    } catch (again) {
      if (move.signal.aborted) throw error;
      if (!isPassing(again) && !(again instanceof VisibleError)) throw again;
      return undefined;
    }
  };
  if (!(await poll(isBack, { every: 250, deadline: RECONNECT_DEADLINE, signal: move.signal }))) throw error;
}

/** Whether the host or the world changed under us: then look again, and go on. */
export async function mayRecover(move: Move, error: unknown): Promise<boolean> {
  // The daemon through whose root the files are reached is gone.
  return isPassing(error) || !(await move.files.exists("storage-pools").catch(() => false));
}

function isPassing(error: unknown): boolean {
  return (
    error instanceof UnreachableError ||
    error instanceof DeadlineError ||
    isPreconditionFailed(error) ||
    isNotFound(error) ||
    (error instanceof IncusApiError && error.status === 503)
  );
}

/** Waits for what an interrupted run left going, then puts right what a killed daemon left. */
export async function settleAndMend(move: Move, seen: Observation): Promise<void> {
  await settleAll(move, seen);
  await mendTornRenames(move, await observeAgain(move, seen));
}

/** Waits until Incus works on none of the instances of the migration. @param deadline milliseconds */
export async function settleAll(move: Move, { source, copy }: Observation, deadline?: number): Promise<void> {
  const { name, project } = move.request;
  const all = [name, source?.journal.copy, source?.journal.parked, copy?.instance.name];
  const known = all.filter((one) => one !== undefined);
  await settle(move.client, project, known, move.signal, deadline);
}

/** The files of a host. @throws VisibleError where they cannot be reached from here */
export async function hostFiles(client: IncusClient, name: string, lease: Lease): Promise<HostFiles> {
  const files = await openHostFiles(client, lease);
  if (files) return files;
  throw new VisibleError(
    `Refusing to migrate "${name}": the host's files cannot be reached from here, and Incus' own copy breaks hardlinks. Use connection: unix as root on the host, or ssh:// with a login that is root or may use sudo -n.`,
  );
}
