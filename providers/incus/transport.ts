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

function connectorFor(endpoint: Endpoint, ssh: SshConnection | undefined): Connector {
  if (endpoint.kind === "https") return pinnedTls(endpoint);
  if (endpoint.kind === "unix") return socketAt(async () => endpoint.socketPath);
  if (!ssh) throw new RangeError("an ssh endpoint needs its connection");
  return socketAt(() => ssh.socketPath());
}

/** A keep-alive connection pool to one daemon. A new transport is one more connector here. */
export function openTransport(endpoint: Endpoint, ssh: SshConnection | undefined): Dispatcher {
  return new Pool("http://incus", {
    connect: connectorFor(endpoint, ssh),
    connections: CONNECTIONS_PER_HOST,
    pipelining: 1,
    keepAliveTimeout: 30_000,
    headersTimeout: 0,
    bodyTimeout: 0,
  });
}
