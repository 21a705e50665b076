import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { messageOf, VisibleError } from "../common/errors.ts";
import {
  type ClientIdentity,
  clientDirectory,
  clientIdentity,
  fingerprintInFile,
  resolveFile,
} from "./certificates.ts";
import { REMOTE_PREFIX, type Remote, readRemote } from "./remotes.ts";

/**
 * TLS files of an `https://` connection. Relative paths are resolved against the directory of the Pulumi
 * program's entry file, `~/` against the home directory. Only paths are kept in state, never keys.
 */
const TlsArgs = z.strictObject({
  /** Client certificate, PEM. @default the Incus client's own `client.crt`, made where there is none */
  certificateFile: z.string().min(1).optional(),
  /** Client key, PEM. @default the Incus client's own `client.key` */
  keyFile: z.string().min(1).optional(),
  /** The server's certificate, PEM: the connection is refused unless the server shows exactly this one. */
  serverCertificateFile: z.string().min(1).optional(),
  /** SHA-256 fingerprint of the server's certificate (64 hex digits), instead of the file. */
  serverFingerprint: z
    .string()
    .regex(/^[0-9a-fA-F:]{64,95}$/, "must be a SHA-256 fingerprint, 64 hex digits")
    .optional(),
  /** Accepts the first server that answers, and from then on only that one. @default false */
  trustOnFirstUse: z.boolean({ error: "must be true or false" }).optional(),
});

const CONNECTION = /^(unix|unix:\/.+|https:\/\/[^/@\s]+(:\d+)?\/?|ssh:\/\/[^\s]+|remote:[A-Za-z0-9_.-]+)$/;

/** How to reach one host's Incus daemon. */
export const HostConnection = z.strictObject({
  /** The host's name in the stack config; error messages carry it. */
  name: z.string().min(1),
  /** `unix`, `unix:/path/to/unix.socket`, `ssh://user@host:22/path/of/unix.socket`, `https://host:8443` or `remote:NAME`. */
  connection: z
    .string()
    .max(1024)
    .regex(CONNECTION, "must be unix, unix:/path, ssh://user@host, https://host:8443 or remote:NAME"),
  tls: TlsArgs.optional(),
});
export type HostConnection = z.infer<typeof HostConnection>;

/** A host that is reached through the system's own ssh. */
export interface SshEndpoint {
  kind: "ssh";
  /** `host` or `user@host`, as ssh takes it. */
  destination: string;
  port: number | undefined;
  /** Of the daemon, there. Undefined: one of the usual places. */
  socketPath: string | undefined;
}

/** Where a daemon answers TLS. */
export interface Address {
  host: string;
  port: number;
}

/** The one server that is accepted: by SHA-256 fingerprint, or the first one that is seen, kept in a file. */
export type Pin = { fingerprint: string } | { firstUseFile: string };

/** A host that is reached over TLS. */
export interface HttpsEndpoint extends ClientIdentity {
  kind: "https";
  /** Of the one daemon, tried in this order; at least one. */
  addresses: readonly Address[];
  pin: Pin;
}

/** A connection with everything needed to dial it. */
export type Endpoint = { kind: "unix"; socketPath: string } | SshEndpoint | HttpsEndpoint;

/** Where an Incus that says nothing else listens. */
const HTTPS_PORT = 8443;

const SSH =
  /^ssh:\/\/(?:([A-Za-z0-9_][A-Za-z0-9_.-]*)@)?([A-Za-z0-9][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?(\/[^?#]*)?$/;

/** Name and address go into arguments of ssh: nothing in them may be taken for an option or for more than a name. */
function sshEndpoint({ name, connection }: HostConnection): SshEndpoint {
  const [, user, host = "", port, path = ""] = SSH.exec(connection) ?? [];
  if (host === "") {
    throw new VisibleError(
      `Host "${name}": connection "${connection}" is no ssh://user@host:port/path/of/unix.socket. Keys, jumps and other names belong into ~/.ssh/config.`,
    );
  }
  const address = host.replace(/^\[(.*)\]$/, "$1");
  return {
    kind: "ssh",
    destination: user === undefined ? address : `${user}@${address}`,
    port: port === undefined ? undefined : Number(port),
    socketPath: path.length > 1 ? path : undefined,
  };
}

/** Candidates for the local socket, in the order of the Incus client (shared/util, `INCUS_SOCKET` first). */
function localSocketPath(environment: NodeJS.ProcessEnv): string {
  const explicit = environment["INCUS_SOCKET"];
  if (explicit) return explicit;
  const directory = environment["INCUS_DIR"];
  if (directory) return join(directory, "unix.socket");
  const candidates = ["/run/incus/unix.socket", "/var/lib/incus/unix.socket"];
  return candidates.find((path) => existsSync(path)) ?? "/var/lib/incus/unix.socket";
}

/** What the config says of a server, as what is compared with it. @throws VisibleError where it says nothing */
function pinOf({ name, connection, tls }: HostConnection, { host, port }: Address, directory: string): Pin {
  if (tls?.serverFingerprint) return { fingerprint: tls.serverFingerprint.replaceAll(":", "").toLowerCase() };
  if (tls?.serverCertificateFile) {
    const file = resolveFile(tls.serverCertificateFile);
    return { fingerprint: fingerprintInFile(name, "server certificate", file) };
  }
  if (tls?.trustOnFirstUse)
    return { firstUseFile: join(directory, "servercerts", `taos-hosts:${host}:${port}.crt`) };
  throw new VisibleError(
    `Host "${name}" uses ${connection} without a pinned server certificate. Set hosts.${name}.tls.serverFingerprint (on the host: incus info | grep certificate_fingerprint), serverCertificateFile, or the token of incus config trust add; where that is encrypted, npm run plan cannot read it, and preview and up can.`,
  );
}

function addressIn(url: string): Address {
  const { hostname, port } = new URL(url);
  return { host: hostname.replace(/^\[(.*)\]$/, "$1"), port: Number(port || HTTPS_PORT) };
}

function httpsEndpoint(host: HostConnection, environment: NodeJS.ProcessEnv): HttpsEndpoint {
  const address = addressIn(host.connection);
  const directory = clientDirectory(environment);
  const pin = pinOf(host, address, directory);
  const { certificateFile, keyFile } = host.tls ?? {};
  const certificate = certificateFile ? resolveFile(certificateFile) : join(directory, "client.crt");
  const files = {
    certificateFile: certificate,
    keyFile: keyFile ? resolveFile(keyFile) : join(dirname(certificate), "client.key"),
  };
  const mayMake = certificateFile === undefined && keyFile === undefined;
  return { kind: "https", addresses: [address], pin, ...clientIdentity(host.name, files, mayMake) };
}

/**
 * Resolves a connection string to what must be dialled: reads certificates and remotes, finds the local socket.
 * @throws VisibleError naming the host and the setting when a file is missing or cannot be used
 */
export function resolveEndpoint(
  host: HostConnection,
  environment: NodeJS.ProcessEnv = process.env,
): Endpoint {
  const { connection } = host;
  if (connection === "unix") return { kind: "unix", socketPath: localSocketPath(environment) };
  if (connection.startsWith("unix:")) return { kind: "unix", socketPath: connection.slice("unix:".length) };
  if (connection.startsWith("https://")) return httpsEndpoint(host, environment);
  if (connection.startsWith("ssh://")) return sshEndpoint(host);
  return remoteEndpoint(host, environment);
}

/** As the Incus client itself would reach its remote. */
function remoteEndpoint({ name, connection }: HostConnection, environment: NodeJS.ProcessEnv): Endpoint {
  const refuse = (reason: string): never => {
    throw new VisibleError(`Host "${name}": ${reason}.`);
  };
  let remote: Remote;
  try {
    remote = readRemote(connection.slice(REMOTE_PREFIX.length), environment);
  } catch (error) {
    return refuse(messageOf(error));
  }
  const [first = ""] = remote.addresses;
  if (first.startsWith("unix:")) {
    const path = first.replace(/^unix:(\/\/)?/, "");
    return { kind: "unix", socketPath: path === "" ? localSocketPath(environment) : path };
  }
  if (!remote.addresses.every((one) => one.startsWith("https://") && URL.canParse(one)))
    return refuse(`${connection} has an address that is no https:// URL`);
  if (!existsSync(remote.serverCertificateFile))
    return refuse(
      `${connection} has no server certificate at ${remote.serverCertificateFile}, which the Incus client leaves to authorities. Use connection: ${first} with tls.serverFingerprint`,
    );
  const fingerprint = fingerprintInFile(name, "server certificate", remote.serverCertificateFile);
  const identity = clientIdentity(name, remote, false);
  return { kind: "https", addresses: remote.addresses.map(addressIn), pin: { fingerprint }, ...identity };
}
