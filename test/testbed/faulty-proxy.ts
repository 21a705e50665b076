import { createServer, request as forward, type IncomingMessage, type ServerResponse } from "node:http";
import { createConnection, type Socket } from "node:net";
import { join } from "node:path";
import type { IncusDaemon } from "./daemon.ts";

/** One request that came through, in order of arrival. */
export type SeenRequest = { method: string; path: string };

/**
 * How a request goes wrong:
 * - `cut-before`: the connection closes, the daemon never sees the request
 * - `cut-after`: the daemon has done it and answered, the answer is lost
 * - `stall`: the daemon never sees it and no answer comes
 * - `{ cutBodyAfter }`: the answer breaks off after so many bytes of its body
 * - `{ status, error }`: the daemon never sees it; answered as Incus answers errors, for those it shows by chance only
 */
export type Fault =
  | "cut-before"
  | "cut-after"
  | "stall"
  | { cutBodyAfter: number }
  | { status: number; error: string };

/** Tells a request by `METHOD /path?query`. */
export type Matcher = RegExp | ((request: SeenRequest) => boolean);

/** A socket in front of a daemon's, which counts requests and breaks them on demand. */
export type FaultyProxy = {
  readonly socketPath: string;
  readonly requests: readonly SeenRequest[];
  /** Requests other than GET, HEAD and OPTIONS so far: what a run wrote. */
  writes(): SeenRequest[];
  /** Breaks the `nth` matching request from now on (default the next). The promise settles when it struck. */
  failNext(matcher: Matcher, fault: Fault, nth?: number): { readonly struck: Promise<SeenRequest> };
  /** Does something, such as killing the daemon, before the matching request is forwarded or after it was answered; the client waits for it. */
  onNext(
    matcher: Matcher,
    when: "before" | "after",
    action: () => Promise<void>,
    nth?: number,
  ): { readonly struck: Promise<SeenRequest> };
  /** Breaks all open connections at once. */
  cutAll(): void;
  close(): Promise<void>;
};

type Plan = {
  matcher: Matcher;
  left: number;
  fault?: Fault;
  before?: () => Promise<void>;
  after?: () => Promise<void>;
  strike: (request: SeenRequest) => void;
};

let proxies = 0;

/** Starts a proxy on a Unix socket in the daemon's data directory. */
export async function startProxy(daemon: IncusDaemon): Promise<FaultyProxy> {
  const socketPath = join(daemon.dataDir, `proxy-${process.pid}-${++proxies}.socket`);
  const requests: SeenRequest[] = [];
  const plans: Plan[] = [];
  const sockets = new Set<Socket>();

  const planFor = (seen: SeenRequest): Plan | undefined => {
    for (const [index, plan] of plans.entries()) {
      if (!matches(plan.matcher, seen) || --plan.left > 0) continue;
      plans.splice(index, 1);
      plan.strike(seen);
      return plan;
    }
    return undefined;
  };
  const arrive = (incoming: IncomingMessage): Plan | undefined => {
    const seen = { method: incoming.method ?? "", path: incoming.url ?? "" };
    requests.push(seen);
    return planFor(seen);
  };

  const server = createServer((incoming, outgoing) => {
    void handle(daemon.socketPath, incoming, outgoing, arrive(incoming)).catch((error: unknown) => {
      // Of a daemon that was killed this is expected; of one that runs it explains a test that fails.
      if (daemon.pid !== undefined)
        process.stderr.write(`faulty proxy: ${incoming.method} ${incoming.url}: ${String(error)}\n`);
      incoming.socket.destroy();
    });
  });
  server.on("upgrade", (incoming: IncomingMessage, socket: Socket, head: Buffer) => {
    void tunnel(daemon.socketPath, incoming, socket, head, arrive(incoming)).catch(() => socket.destroy());
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  // Waits of the daemon's own may be long.
  server.requestTimeout = 0;
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));

  const plan = (matcher: Matcher, nth: number, what: Omit<Plan, "matcher" | "left" | "strike">) => {
    const { promise, resolve } = Promise.withResolvers<SeenRequest>();
    plans.push({ matcher, left: nth, strike: resolve, ...what });
    return { struck: promise };
  };
  const cutAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    socketPath,
    requests,
    writes: () => requests.filter(({ method }) => !["GET", "HEAD", "OPTIONS"].includes(method)),
    failNext: (matcher, fault, nth = 1) => plan(matcher, nth, { fault }),
    onNext: (matcher, when, action, nth = 1) => plan(matcher, nth, { [when]: action }),
    cutAll,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      cutAll();
      await closed;
    },
  };
}

function matches(matcher: Matcher, seen: SeenRequest): boolean {
  return typeof matcher === "function" ? matcher(seen) : matcher.test(`${seen.method} ${seen.path}`);
}

async function handle(
  target: string,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  plan: Plan | undefined,
): Promise<void> {
  await plan?.before?.();
  if (plan?.fault === "stall") return;
  if (plan?.fault === "cut-before") {
    incoming.socket.destroy();
    return;
  }
  if (typeof plan?.fault === "object" && "status" in plan.fault) {
    const { status, error } = plan.fault;
    outgoing.writeHead(status, { "content-type": "application/json" });
    outgoing.end(JSON.stringify({ type: "error", error, error_code: status, metadata: null }));
    return;
  }
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const { method, url, headers } = incoming;
    const upstream = forward({ socketPath: target, method, path: url, headers, agent: false }, resolve);
    upstream.once("error", reject);
    outgoing.once("close", () => upstream.destroy());
    incoming.pipe(upstream);
  });
  if (plan?.fault === "cut-after") {
    for await (const _ of answer);
    incoming.socket.destroy();
    return;
  }
  const limit =
    typeof plan?.fault === "object" && "cutBodyAfter" in plan.fault
      ? plan.fault.cutBodyAfter
      : Number.POSITIVE_INFINITY;
  if (plan?.after !== undefined) {
    const chunks: Buffer[] = [];
    for await (const chunk of answer) chunks.push(chunk as Buffer);
    await plan.after();
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
    outgoing.end(Buffer.concat(chunks));
    return;
  }
  outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
  outgoing.flushHeaders();
  let sent = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    const part = chunk.subarray(0, limit - sent);
    outgoing.write(part);
    sent += part.length;
    if (sent >= limit) break;
  }
  // Ending the answer early would look like a whole one where no length is given.
  if (Number.isFinite(limit)) setImmediate(() => incoming.socket.destroy());
  else outgoing.end();
}

/** Websockets (events, exec): bytes both ways; the only faults are a cut or a stall before. */
async function tunnel(
  target: string,
  incoming: IncomingMessage,
  socket: Socket,
  head: Buffer,
  plan: Plan | undefined,
): Promise<void> {
  await plan?.before?.();
  if (plan?.fault === "stall") return;
  if (plan?.fault === "cut-before") {
    socket.destroy();
    return;
  }
  const upstream = createConnection(target);
  const headers = incoming.rawHeaders.reduce(
    (text, field, index) => text + field + (index % 2 === 0 ? ": " : "\r\n"),
    "",
  );
  upstream.write(`${incoming.method} ${incoming.url} HTTP/1.1\r\n${headers}\r\n`);
  upstream.write(head);
  upstream.pipe(socket);
  socket.pipe(upstream);
  for (const end of [upstream, socket]) {
    end.once("error", () => end.destroy());
    end.once("close", () => {
      upstream.destroy();
      socket.destroy();
    });
  }
}
