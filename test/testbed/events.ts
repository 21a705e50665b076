import { randomBytes } from "node:crypto";
import { request } from "node:http";
import type { Socket } from "node:net";
import type { IncusDaemon } from "./daemon.ts";
import { until } from "./deadline.ts";
import { FrameReader, pingFrame, pongFrame } from "./websocket-frames.ts";

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
  const socket = await openStream(daemon.socketPath, `/1.0/events?type=${types.join(",")}&all-projects=true`);
  const events: IncusEvent[] = [];
  const frames = new FrameReader();
  let pongs = 0;
  let last = performance.now();
  const take = (chunk: Buffer): void => {
    const received = frames.push(chunk);
    pongs += received.pongs;
    if (received.pings > 0) socket.write(pongFrame());
    for (const each of received.texts) events.push(JSON.parse(each) as IncusEvent);
    if (received.texts.length > 0) last = performance.now();
  };
  socket.on("data", take);
  socket.on("error", () => socket.destroy());
  // The daemon answers a ping only once the stream is among its listeners.
  const ping = async (): Promise<void> => {
    const before = pongs;
    socket.write(pingFrame());
    await until(() => pongs > before || socket.destroyed, {
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
      if (!socket.destroyed) await ping();
      last = performance.now();
      await until(() => performance.now() - last > quietMs, { what: "the events to end", everyMs: 20 });
      socket.destroy();
      return events;
    },
  };
}

function openStream(socketPath: string, path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const headers = {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": randomBytes(16).toString("base64"),
    };
    const upgrade = request({ socketPath, path, headers, timeout: 10_000 });
    upgrade.once("upgrade", (_response, socket, head) => {
      if (head.length > 0) socket.unshift(head);
      socket.setTimeout(0);
      resolve(socket as Socket);
    });
    upgrade.once("response", (response) =>
      reject(new Error(`No event stream: status ${response.statusCode}`)),
    );
    upgrade.once("timeout", () => upgrade.destroy(new Error("No event stream within 10 s")));
    upgrade.once("error", reject);
    upgrade.end();
  });
}
