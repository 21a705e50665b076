import { X509Certificate } from "node:crypto";
import { copyFile, mkdtemp, readFile } from "node:fs/promises";
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

/** Makes a client certificate the daemon does not know. */
export async function createCertificate(
  daemon: IncusDaemon,
  commonName = "taos-hosts-test",
): Promise<ClientCertificate> {
  const dir = await mkdtemp(join(daemon.env.INCUS_CONF, "certificate-"));
  const certificateFile = join(dir, "client.crt");
  const keyFile = join(dir, "client.key");
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", keyFile];
  await execa(
    "openssl",
    ["req", "-x509", ...key, "-out", certificateFile, "-days", "2", "-subj", `/CN=${commonName}`],
    {
      stdin: "ignore",
      timeout: 30_000,
    },
  );
  const { fingerprint256 } = new X509Certificate(await readFile(certificateFile));
  return { certificateFile, keyFile, fingerprint: fingerprint256.replaceAll(":", "").toLowerCase() };
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
