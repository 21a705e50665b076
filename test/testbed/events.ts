import { once } from "node:events";
import { WebSocket } from "ws";
import type { IncusDaemon } from "./daemon.ts";
import { until } from "./deadline.ts";

/** An event as `/1.0/events` sends it; `metadata` has more keys than these. */
export type IncusEvent = {
  type: string;
  timestamp: string;
  project?: string;
  metadata: {
    /** Lifecycle events: what happened, such as `instance-started`, and the API path it happened to. */
    action?: string;
    source?: string;
    /** Operation events: what runs, and how far it is. */
    id?: string;
    description?: string;
    status?: string;
  };
};

/** A running record of a daemon's events. */
export type EventRecord = {
  /** All events so far, growing. */
  readonly events: readonly IncusEvent[];
  /** `action source` of the lifecycle events so far, in order: empty when nothing was written, started or stopped. */
  lifecycle(): string[];
  /** Waits until events have stopped coming (300 ms), ends the record and returns it. */
  stop(): Promise<readonly IncusEvent[]>;
};

const quietMs = 300;

/**
 * Records what happens on a daemon, in all projects, from the moment it
 * returns. A restart of the daemon ends the record.
 *
 * @throws Error when the daemon does not answer within 10 s.
 */
export async function recordEvents(
  daemon: Pick<IncusDaemon, "socketPath">,
  types = ["lifecycle", "operation"],
): Promise<EventRecord> {
  const events: IncusEvent[] = [];
  let last = performance.now();
  const path = `/1.0/events?type=${types.join(",")}&all-projects=true`;
  const socket = new WebSocket(`ws+unix://${daemon.socketPath}:${path}`, { handshakeTimeout: 10_000 });
  socket.on("message", (data) => {
    events.push(JSON.parse(String(data)) as IncusEvent);
    last = performance.now();
  });
  await once(socket, "open");
  socket.on("error", () => socket.terminate());
  const isOpen = (): boolean => socket.readyState === WebSocket.OPEN;
  // The daemon answers a ping only once the stream is among its listeners.
  const ping = async (): Promise<void> => {
    let answered = false;
    socket.once("pong", () => {
      answered = true;
    });
    socket.ping();
    await until(() => answered || !isOpen(), {
      what: "the event stream to answer",
      deadlineMs: 10_000,
      everyMs: 5,
    });
  };
  await ping();
  return {
    events,
    lifecycle: () =>
      events
        .filter((event) => event.type === "lifecycle")
        .map(({ metadata }) => `${metadata.action} ${metadata.source}`),
    async stop() {
      if (isOpen()) await ping();
      last = performance.now();
      await until(() => performance.now() - last > quietMs, { what: "the events to end", everyMs: 20 });
      socket.terminate();
      return events;
    },
  };
}
