import { X509Certificate } from "node:crypto";
import { copyFile, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import type { IncusDaemon } from "./daemon.ts";

/** What a client needs to talk to a daemon over TLS; the files go when the daemon is removed. */
export type TrustedClient = {
  certificateFile: string;
  keyFile: string;
  /** Copy of the certificate the daemon shows, for pinning. */
  serverCertificateFile: string;
  /** SHA-256 of the client certificate in hexadecimal, as the trust store names it. */
  fingerprint: string;
};

/** A certificate and its key in PEM files. */
export type ClientCertificate = Omit<TrustedClient, "serverCertificateFile">;

/** Makes a client certificate the daemon does not know; it is good for two days, or for the time that is given. */
export async function createCertificate(
  daemon: IncusDaemon,
  commonName = "taos-hosts-test",
  time = { from: new Date(), to: new Date(Date.now() + 2 * 86_400_000) },
): Promise<ClientCertificate> {
  const dir = await mkdtemp(join(daemon.env.INCUS_CONF, "certificate-"));
  const certificateFile = join(dir, "client.crt");
  const keyFile = join(dir, "client.key");
  const openssl = (...args: string[]) =>
    execa("openssl", args, { cwd: dir, stdin: "ignore", timeout: 30_000 });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", keyFile];
  await openssl("req", "-new", ...key, "-out", "request", "-subj", `/CN=${commonName}`);
  await writeFile(join(dir, "index"), "");
  await writeFile(join(dir, "ca.cnf"), AUTHORITY);
  const span = ["-startdate", asn1Time(time.from), "-enddate", asn1Time(time.to)];
  const sign = ["-batch", "-config", "ca.cnf", "-selfsign", "-create_serial", "-keyfile", keyFile];
  await openssl("ca", ...sign, "-in", "request", ...span, "-notext", "-out", certificateFile);
  const { fingerprint256 } = new X509Certificate(await readFile(certificateFile));
  return { certificateFile, keyFile, fingerprint: fingerprint256.replaceAll(":", "").toLowerCase() };
}

/** `openssl req` cannot say from when to when; `openssl ca` needs this for it. */
const AUTHORITY = `[ca]
default_ca = own
[own]
database = index
serial = serial
new_certs_dir = .
policy = any
default_md = sha256
[any]
commonName = supplied
`;

function asn1Time(date: Date): string {
  return `${date.toISOString().replaceAll(/[-:T]/g, "").slice(0, 14)}Z`;
}

/**
 * Makes a client certificate and adds it to the daemon's trust store.
 *
 * @param restrictedTo projects the certificate is limited to; without it, it may do everything.
 */
export async function trustNewClient(daemon: IncusDaemon, restrictedTo?: string[]): Promise<TrustedClient> {
  const certificate = await createCertificate(daemon);
  const restriction =
    restrictedTo === undefined ? [] : ["--restricted", "--projects", restrictedTo.join(",")];
  await daemon.incus("config", "trust", "add-certificate", certificate.certificateFile, ...restriction);
  const serverCertificateFile = `${certificate.certificateFile}.server`;
  await copyFile(join(daemon.dir, "server.crt"), serverCertificateFile);
  return { ...certificate, serverCertificateFile };
}
