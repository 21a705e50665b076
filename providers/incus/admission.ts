import { X509Certificate } from "node:crypto";
import { IncusApiError, VisibleError } from "../common/errors.ts";
import { fingerprintOf } from "./certificates.ts";
import type { IncusClient } from "./client.ts";
import type { Server } from "./schemas.ts";
import { getServer } from "./server.ts";
import { WrongServerError } from "./tls.ts";
import { parseTrustToken } from "./trust-token.ts";

/** Extensions that taos-hosts relies on; all are in Incus 6.0. Gated on these, never on versions. */
const REQUIRED_EXTENSIONS = [
  "instance_create_start",
  "instance_allow_inconsistent_copy",
  "instance_pool_move",
  "storage_volumes_all_projects",
  "storage_buckets_all_projects",
  "profiles_all_projects",
  "images_all_projects",
];

/** The daemon is new enough and trusts this client. @throws VisibleError with the way out */
export async function checkServer(client: IncusClient, server: Server): Promise<void> {
  const missing = REQUIRED_EXTENSIONS.filter((extension) => !server.api_extensions.includes(extension));
  if (missing.length > 0) {
    const version = server.environment?.server_version ?? "";
    throw new VisibleError(
      `Host "${client.host.name}": Incus ${version} is too old: it lacks ${missing.join(", ")}. Upgrade it to 6.0 or later.`,
    );
  }
  if (server.auth !== "trusted") {
    throw new VisibleError(
      `Host "${client.host.name}" does not trust this client: ${await distrust(client)}.`,
    );
  }
  // incus-user passes on by a certificate of its own what comes to its socket.
  if (client.endpoint.kind !== "https" && server.auth_user_method === "tls") {
    throw new VisibleError(
      `Host "${client.host.name}" is reached by the socket of group incus, which has a project of its own for each user and no pools. Use the daemon's own: sudo usermod -aG incus-admin USER there, and no path, or the one to unix.socket, in its connection.`,
    );
  }
}

/**
 * Has the host trust this client by a token of `incus config trust add`, once: a client that is trusted already leaves
 * the token as it is.
 * @throws VisibleError where the token is used, expired, or of another server; never with the token in it
 */
export async function registerByToken(client: IncusClient, token: string): Promise<void> {
  const { name } = client.host;
  const wayOut = `On the host: incus config trust add NAME, and give what it prints as hosts.${name}.tls.token`;
  const server = await getServer(client).catch((error: unknown) => {
    const cause = error instanceof Error ? error.cause : undefined;
    if (!(cause instanceof WrongServerError)) throw error;
    const { fingerprint = "", addresses = [] } = parseTrustToken(token) ?? {};
    const place = addresses.length > 0 ? ` at ${addresses.join(", ")}` : "";
    throw new VisibleError(
      `Host "${name}": the trust token is of another server (certificate ${fingerprint}${place}); this one shows ${cause.shown}. ${wayOut}, or correct its connection.`,
    );
  });
  if (server.auth === "trusted") return;
  const unusable = await timeProblem(client);
  if (unusable !== undefined)
    throw new VisibleError(`Host "${name}": its trust token was not used: ${unusable}.`);
  try {
    await client.write("POST", "/1.0/certificates", { body: { type: "client", trust_token: token } });
  } catch (error) {
    if (!(error instanceof IncusApiError)) throw error;
    // The same client in another process was faster.
    if (/already trusted/i.test(error.reason)) return;
    throw new VisibleError(`Host "${name}": ${refusalOf(error)}. ${wayOut}.`);
  }
}

function refusalOf({ reason }: IncusApiError): string {
  if (/expired/i.test(reason)) return "the trust token has expired";
  if (/no matching/i.test(reason))
    return "the trust token is known there no more: it was used by another client, withdrawn, or Incus was restarted since";
  return `the trust token was refused: ${reason}`;
}

async function distrust(client: IncusClient): Promise<string> {
  const { endpoint, host } = client;
  if (endpoint.kind !== "https") return "its Incus says so over this connection. Look at its log there";
  const fingerprint = fingerprintOf(new X509Certificate(endpoint.certificate).raw);
  return (
    (await timeProblem(client)) ??
    `it does not know certificate ${endpoint.certificateFile} (${fingerprint.slice(0, 12)}). On the host: incus config trust add NAME, and give what it prints as hosts.${host.name}.tls.token, which preview and up use and npm run plan does not; or there: incus config trust add-certificate FILE`
  );
}

/** Incus takes a certificate for unknown outside its time (server/util/http.go), by its own clock. */
async function timeProblem(client: IncusClient): Promise<string | undefined> {
  const { endpoint } = client;
  if (endpoint.kind !== "https") return undefined;
  const { validFromDate, validToDate } = new X509Certificate(endpoint.certificate);
  const file = endpoint.certificateFile;
  if (validToDate.getTime() < Date.now()) {
    return `the client certificate ${file} expired on ${day(validToDate)}. Make another, and have the host trust it: without its two files the next run makes one where the Incus client has its own`;
  }
  const { headers, body } = await client.requests.stream("/1.0", {});
  await body.dump();
  const theirs = new Date(String(headers["date"] ?? ""));
  if (theirs < validFromDate) {
    return `its clock says ${theirs.toISOString()}, and the client certificate ${file} is not yet valid before ${validFromDate.toISOString()}. A board without a battery starts with an old time: have its clock set (timedatectl set-ntp true), then run again`;
  }
  if (theirs > validToDate) {
    return `its clock says ${theirs.toISOString()}, and the client certificate ${file} ends on ${day(validToDate)}. Have its clock set (timedatectl set-ntp true), then run again`;
  }
  return undefined;
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}
