import { connect as connectTcp } from "node:net";
import { type Dispatcher, Pool } from "undici";
import type { Endpoint, HttpsEndpoint } from "./connection.ts";
import type { SshConnection } from "./ssh.ts";
import { dialTls } from "./tls.ts";

/** Parallel connections per host. Waits for operations hold one each, so this bounds concurrent operations too. */
const CONNECTIONS_PER_HOST = 64;

type Connector = Extract<NonNullable<Pool.Options["connect"]>, (...args: never[]) => unknown>;

function pinnedTls(endpoint: HttpsEndpoint): Connector {
  return (_options, callback) => {
    dialTls(endpoint).then(
      (socket) => callback(null, socket),
      (error: Error) => callback(error, null),
    );
  };
}

function socketAt(path: () => Promise<string>): Connector {
  return (_options, callback) => {
    const fail = (error: Error): void => callback(error, null);
    path().then((found) => {
      const socket = connectTcp({ path: found });
      socket.once("error", fail);
      socket.once("connect", () => {
        socket.off("error", fail);
        callback(null, socket);
      });
    }, fail);
  };
}

/**
 * A keep-alive connection pool to one daemon. A new transport is one more connector here.
 * @throws Error where it takes a login that fails
 */
export async function openTransport(endpoint: Endpoint, ssh: SshConnection | undefined): Promise<Dispatcher> {
  if (endpoint.kind === "https") return poolOf(pinnedTls(endpoint));
  if (endpoint.kind === "unix") return poolOf(socketAt(async () => endpoint.socketPath));
  if (!ssh) throw new RangeError("an ssh endpoint needs its connection");
  const { connections } = await ssh.door();
  return poolOf(
    socketAt(async () => (await ssh.door()).socketPath),
    connections,
  );
}

function poolOf(connect: Connector, connections = CONNECTIONS_PER_HOST): Dispatcher {
  return new Pool("http://incus", {
    connect,
    connections,
    pipelining: 1,
    keepAliveTimeout: 30_000,
    headersTimeout: 0,
    bodyTimeout: 0,
  });
}
