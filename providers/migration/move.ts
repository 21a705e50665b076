import type { HostFiles } from "../host/files.ts";
import type { IncusClient } from "../incus/client.ts";
import type { InstanceRef } from "../incus/instances.ts";
import type { Progress } from "../pulumi/progress.ts";
import type { Lease } from "./record/lease.ts";
import type { Point } from "./states.ts";

/** What is asked for: this container, by name, to that pool. */
export interface MoveRequest extends InstanceRef {
  /** Name of the pool to move to. */
  target: string;
  /** Whether a container that ignores the stop signal may be killed. */
  forceStop: boolean;
  /** Milliseconds that the container has to stop. */
  stopTimeout: number;
  /** A command that must succeed in the container once it runs from the new pool. */
  health?: string[] | undefined;
  /** Milliseconds that a started container has to prove healthy. @default 60000 */
  healthTimeout?: number | undefined;
  /** How many containers of the host may move at the same time. @default 1 */
  migrateParallel?: number | undefined;
  /** Ownership mark of the stack, kept on the parked source. */
  owner: string;
}

/** One run's work on one container: shared by the steps. */
export interface Move {
  client: IncusClient;
  request: MoveRequest;
  /** Files of the host; opened anew when the daemon was restarted. */
  files: HostFiles;
  lease: Lease;
  progress: Progress;
  /** Aborts the work: the run is cancelled or has lost its lease. */
  signal: AbortSignal;
  /** Called before and after each step and at named points within; tests interrupt there. */
  reached(point: Point): Promise<void>;
  /** Snapshots that this run has compared, as `name@created`. */
  comparedSnapshots: Set<string>;
  /** Whether this run has copied live since the source was last seen running. */
  roundsDone: boolean;
  /** When this run found the source stopped (performance.now), and the milliseconds until the copy was started. */
  downSince?: number;
  downtime?: number;
}

/** The instance that is moved, the copy and the parked source, by name in the project. */
export function refOf(move: Move, name: string): InstanceRef {
  return { project: move.request.project, name };
}
