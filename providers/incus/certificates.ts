import { execFileSync } from "node:child_process";
import { createHash, generateKeyPairSync, X509Certificate } from "node:crypto";
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, hostname, userInfo } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createSecureContext } from "node:tls";
import { messageOf, VisibleError } from "../common/errors.ts";

/** What shows a client to a daemon. */
export interface ClientIdentity {
  /** Path of the certificate, for messages. */
  certificateFile: string;
  /** PEM. */
  certificate: string;
  /** PEM. */
  key: string;
}

/** Days that a certificate made here is good for: as long as those of the Incus client. */
const VALID_DAYS = "3650";

/** SHA-256 fingerprint of a certificate (DER) in lower-case hex without colons, as Incus prints it. */
export function fingerprintOf(certificate: Buffer): string {
  return createHash("sha256").update(certificate).digest("hex");
}

/** Fingerprint of the certificate in a PEM file. @throws VisibleError naming host and file */
export function fingerprintInFile(host: string, what: string, path: string): string {
  const pem = readPem(host, what, path);
  try {
    return fingerprintOf(new X509Certificate(pem).raw);
  } catch {
    throw new VisibleError(`Host "${host}": the ${what} ${path} is no certificate in PEM.`);
  }
}

/** Where the Incus client keeps its config and certificates. */
export function clientDirectory(environment: NodeJS.ProcessEnv): string {
  return environment["INCUS_CONF"] || join(homedir(), ".config", "incus");
}

/** A path of the config: `~/` is the home directory. */
export function resolveFile(path: string): string {
  return path.startsWith("~/") ? join(homedir(), path.slice(2)) : resolve(path);
}

/**
 * Certificate and key from their files. Where neither is there and both may be made, they are made.
 * @throws VisibleError where one is missing, or they are no pair
 */
export function clientIdentity(
  host: string,
  { certificateFile, keyFile }: { certificateFile: string; keyFile: string },
  mayMake: boolean,
): ClientIdentity {
  if (mayMake && !existsSync(certificateFile)) makeIdentity(host, certificateFile, keyFile);
  const certificate = readPem(host, "client certificate", certificateFile);
  const key = readPem(host, "client key", keyFile);
  try {
    createSecureContext({ cert: certificate, key });
  } catch (error) {
    const locked = /ENCRYPTED/.test(key);
    const way = locked
      ? "It has a passphrase, and nothing is asked here: name a key without one (tls.certificateFile, tls.keyFile)"
      : "Name the two that belong together";
    throw new VisibleError(
      `Host "${host}": ${certificateFile} and ${keyFile} cannot be used: ${messageOf(error)}. ${way}.`,
    );
  }
  return { certificateFile, certificate, key };
}

function readPem(host: string, what: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new VisibleError(`Cannot read the ${what} of host "${host}": ${messageOf(error)}.`);
  }
}

/**
 * Each file appears whole, and one that is there is never replaced: of two processes at once the first one's key is
 * used by both, and a run that was killed in between is finished by the next.
 */
function makeIdentity(host: string, certificateFile: string, keyFile: string): void {
  mkdirSync(dirname(certificateFile), { recursive: true, mode: 0o700 });
  try {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
    placeFile(keyFile, privateKey.export({ type: "sec1", format: "pem" }));
    // Node.js reads certificates and cannot make them.
    const request = ["req", "-x509", "-new", "-sha384", "-days", VALID_DAYS, "-subj", `/CN=${commonName()}`];
    const certificate = execFileSync(
      "openssl",
      [...request, "-addext", "extendedKeyUsage=clientAuth", "-key", keyFile],
      { stdio: ["ignore", "pipe", "pipe"], timeout: 20_000 },
    );
    placeFile(certificateFile, certificate);
  } catch (error) {
    throw new VisibleError(
      `Host "${host}": no client certificate could be made at ${certificateFile}: ${(messageOf(error).split("\n")[0] ?? "").slice(0, 200)}. Install openssl, or name one (tls.certificateFile, tls.keyFile).`,
    );
  }
}

/**
 * Fingerprint that a server is held to since it was first seen. The first certificate (DER) that is shown is written
 * down there.
 */
export function rememberedIn(file: string, shown: Buffer): string {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  placeFile(file, new X509Certificate(shown).toString());
  return fingerprintOf(new X509Certificate(readFileSync(file)).raw);
}

/** Writes a file that only its owner reads, unless there is one; it appears whole. */
function placeFile(file: string, content: string | Buffer): void {
  const work = `${file}.${process.pid}`;
  writeFileSync(work, content, { mode: 0o600 });
  try {
    linkSync(work, file);
  } catch (error) {
    if (!existsSync(file)) throw error;
  } finally {
    rmSync(work, { force: true });
  }
}

/** As the Incus client names its own; a common name has at most 64 characters. */
function commonName(): string {
  return `${userInfo().username}@${hostname()}`.replaceAll(/[^A-Za-z0-9@._-]/g, "-").slice(0, 64);
}
