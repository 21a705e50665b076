import { connect, type TLSSocket } from "node:tls";
import { messageOf } from "../common/errors.ts";
import { fingerprintOf, rememberedIn } from "./certificates.ts";
import type { HttpsEndpoint } from "./connection.ts";

/** Milliseconds to establish a connection, over all addresses. */
const CONNECT_TIMEOUT = 10_000;
/** Milliseconds that each address gets at least. */
const LEAST_TIMEOUT = 3_000;

/** Another server than the pinned one answers. */
export class WrongServerError extends Error {
  /** SHA-256 fingerprint of the certificate that it shows. */
  readonly shown: string;

  constructor(shown: string, pinned: string) {
    super(
      `it shows certificate ${shown}, pinned is ${pinned}. Compare with the host itself (incus info | grep certificate_fingerprint); if it was set up anew, pin that one`,
    );
    this.shown = shown;
  }
}

/**
 * Dials one address after the other and trusts the peer by its certificate's fingerprint alone, as the Incus client
 * does once a remote is added: its dates and names say nothing more.
 * @throws WrongServerError, or Error with why no address answers
 */
export async function dialTls(endpoint: HttpsEndpoint): Promise<TLSSocket> {
  const { addresses } = endpoint;
  const timeout = Math.max(LEAST_TIMEOUT, CONNECT_TIMEOUT / addresses.length);
  const failures: string[] = [];
  for (const { host, port } of addresses) {
    try {
      return await dial(endpoint, { host, port, timeout });
    } catch (error) {
      // Whoever else answers at a further address, this one is not to be passed over.
      if (error instanceof WrongServerError) throw error;
      failures.push(`${addresses.length > 1 ? `${host}:${port}: ` : ""}${said(error)}`);
    }
  }
  throw new Error(failures.join("; "));
}

function dial(
  { certificate, key, pin }: HttpsEndpoint,
  { host, port, timeout }: { host: string; port: number; timeout: number },
): Promise<TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>();
  const socket = connect({
    ...{ host, port, cert: certificate, key, timeout },
    rejectUnauthorized: false,
    minVersion: "TLSv1.2",
  });
  const fail = (error: unknown): void => {
    socket.destroy();
    reject(error);
  };
  socket.once("timeout", () =>
    fail(new Error(`it does not answer within ${Math.round(timeout / 1000)} s. Is it on, and in reach?`)),
  );
  socket.once("error", fail);
  socket.once("close", () => fail(new Error("it closed the connection")));
  socket.once("secureConnect", () => {
    const shown = socket.getPeerCertificate().raw;
    try {
      const pinned = "fingerprint" in pin ? pin.fingerprint : rememberedIn(pin.firstUseFile, shown);
      if (fingerprintOf(shown) !== pinned) throw new WrongServerError(fingerprintOf(shown), pinned);
    } catch (error) {
      fail(error);
      return;
    }
    socket.setTimeout(0);
    resolve(socket);
  });
  return promise;
}

/** What the network said, in words with the way out. */
function said(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code === "ENOTFOUND" || code === "EAI_AGAIN")
    return "its name does not resolve. Correct it, or give its address";
  if (code === "ECONNREFUSED")
    return "nothing answers at that port. Is Incus running there, and does it listen (incus config set core.https_address :8443)?";
  if (code === "EHOSTUNREACH" || code === "ENETUNREACH" || code === "ETIMEDOUT")
    return "it does not answer. Is it on, and in reach?";
  if (code.startsWith("ERR_SSL") || code === "EPROTO")
    return "what answers there speaks no TLS that fits. Is the port right?";
  return messageOf(error);
}
