import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";
import { type Dispatcher, Pool } from "undici";
import type { Endpoint } from "./connection.ts";
import { fingerprintOf } from "./connection.ts";
import type { SshConnection } from "./ssh.ts";

/** Time to establish a connection, in milliseconds. */
const CONNECT_TIMEOUT = 10_000;
/** Parallel connections per host. Waits for operations hold one each, so this bounds concurrent operations too. */
const CONNECTIONS_PER_HOST = 64;

type Connector = Extract<NonNullable<Pool.Options["connect"]>, (...args: never[]) => unknown>;

/** Dials TLS and trusts the peer by its certificate's fingerprint alone, as the Incus client does once a remote is added. */
function pinnedTls(endpoint: Extract<Endpoint, { kind: "https" }>): Connector {
  return (_options, callback) => {
    const socket = connectTls({
      host: endpoint.host,
      port: endpoint.port,
      cert: endpoint.certificate,
      key: endpoint.key,
      rejectUnauthorized: false,
      minVersion: "TLSv1.2",
      timeout: CONNECT_TIMEOUT,
    });
    let settled = false;
    const settle = (error: Error | null): void => {
      if (settled) return;
      settled = true;
      if (error) {
        socket.destroy();
        callback(error, null);
      } else {
        socket.setTimeout(0);
        callback(null, socket);
      }
    };
    socket.once("secureConnect", () => {
      const shown = fingerprintOf(socket.getPeerCertificate().raw);
      settle(
        shown === endpoint.serverFingerprint
          ? null
          : new Error(`the server shows certificate ${shown}, pinned is ${endpoint.serverFingerprint}`),
      );
    });
    socket.once("timeout", () => settle(new Error(`no connection within ${CONNECT_TIMEOUT / 1000} s`)));
    socket.once("error", settle);
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
