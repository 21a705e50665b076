import { createHash, X509Certificate } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { messageOf, VisibleError } from "../common/errors.ts";

/**
 * TLS files of an `https://` connection. Relative paths are resolved against the directory of the Pulumi
 * program's entry file, `~/` against the home directory. Only paths are kept in state, never keys.
 */
const TlsArgs = z.strictObject({
  /** Client certificate, PEM. @default the Incus client's own `client.crt` */
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
});

const CONNECTION = /^(unix|unix:\/.+|https:\/\/[^/@\s]+(:\d+)?\/?|ssh:\/\/[^\s]+|remote:[A-Za-z0-9_.-]+)$/;

/** How to reach one host's Incus daemon. */
export const HostConnection = z.strictObject({
  /** The host's name in the stack config; error messages carry it. */
  name: z.string().min(1),
  /** `unix`, `unix:/path/to/unix.socket`, `ssh://user@host:22/path/of/unix.socket` or `https://host:8443`. */
  connection: z
    .string()
    .max(1024)
    .regex(
      CONNECTION,
      "must be unix, unix:/path, ssh://user@host or https://host:8443 (remote:NAME: see the limits)",
    ),
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

/** A connection with everything needed to dial it. */
export type Endpoint =
  | { kind: "unix"; socketPath: string }
  | SshEndpoint
  | {
      kind: "https";
      host: string;
      port: number;
      certificate: string;
      key: string;
      serverFingerprint: string;
    };

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

function resolveFile(path: string): string {
  return path.startsWith("~/") ? join(homedir(), path.slice(2)) : resolve(path);
}

function readPem(host: string, what: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new VisibleError(
      `Cannot read the ${what} of host "${host}": ${messageOf(error)}. Set hosts.${host}.tls or create it with "incus remote generate-certificate".`,
    );
  }
}

/** SHA-256 fingerprint of a certificate in lower-case hex without colons, as Incus prints it. */
export function fingerprintOf(certificate: Buffer): string {
  return createHash("sha256").update(certificate).digest("hex");
}

function serverFingerprint(host: HostConnection): string {
  const tls = host.tls;
  if (tls?.serverFingerprint) return tls.serverFingerprint.replaceAll(":", "").toLowerCase();
  if (tls?.serverCertificateFile) {
    const pem = readPem(host.name, "server certificate", resolveFile(tls.serverCertificateFile));
    return fingerprintOf(new X509Certificate(pem).raw);
  }
  throw new VisibleError(
    `Host "${host.name}" uses ${host.connection} without a pinned server certificate. Set hosts.${host.name}.tls.serverCertificateFile or tls.serverFingerprint (on the host: incus info | grep certificate_fingerprint).`,
  );
}

/**
 * Resolves a connection string to what must be dialled: reads certificates, finds the local socket.
 * @throws VisibleError naming the host and the setting when a file is missing or the scheme is not supported.
 */
export function resolveEndpoint(
  host: HostConnection,
  environment: NodeJS.ProcessEnv = process.env,
): Endpoint {
  const { connection } = host;
  if (connection === "unix") return { kind: "unix", socketPath: localSocketPath(environment) };
  if (connection.startsWith("unix:")) return { kind: "unix", socketPath: connection.slice("unix:".length) };
  if (connection.startsWith("https://")) {
    const url = new URL(connection);
    const clientDirectory = environment["INCUS_CONF"] ?? join(homedir(), ".config", "incus");
    const certificateFile = resolveFile(host.tls?.certificateFile ?? join(clientDirectory, "client.crt"));
    const keyFile = resolveFile(host.tls?.keyFile ?? join(dirname(certificateFile), "client.key"));
    return {
      kind: "https",
      host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
      port: Number(url.port || 8443),
      certificate: readPem(host.name, "client certificate", certificateFile),
      key: readPem(host.name, "client key", keyFile),
      serverFingerprint: serverFingerprint(host),
    };
  }
  if (connection.startsWith("ssh://")) return sshEndpoint(host);
  throw new VisibleError(
    `Host "${host.name}": connection "${connection}" is not supported yet. Use unix, unix:/path, ssh://user@host or https://host:8443.`,
  );
}
