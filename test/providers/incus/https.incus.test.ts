import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { lookAtHost } from "../../../providers/host/look-at-host.ts";
import { registerByToken } from "../../../providers/incus/admission.ts";
import { IncusClient } from "../../../providers/incus/client.ts";
import type { HostConnection } from "../../../providers/incus/connection.ts";
import { getServer } from "../../../providers/incus/server.ts";
import { changesOf, createStack, errorsOf, type TestStack } from "../../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { until } from "../../testbed/deadline.ts";
import { setUpHost } from "../../testbed/host-setup.ts";
import { type ClientCertificate, createCertificate, trustNewClient } from "../../testbed/trust.ts";

let d: IncusDaemon;
let other: IncusDaemon;
let fingerprint: string;
let client: IncusClient | undefined;
let server: Server | TcpServer | undefined;
let stack: TestStack | undefined;
/** The Incus client's folder of a person who has never used it. */
let fresh: string;
const conf = process.env["INCUS_CONF"];

beforeAll(async () => {
  d = await startDaemon({ name: "https", https: true });
  other = await startDaemon({ name: "https-other", https: true });
  await setUpHost(d, { driver: "dir" });
  fingerprint = await fingerprintOf(d);
  fresh = join(d.dataDir, "fresh");
});
afterAll(async () => {
  if (conf === undefined) delete process.env["INCUS_CONF"];
  else process.env["INCUS_CONF"] = conf;
  await d?.remove();
  await other?.remove();
});
afterEach(async () => {
  await client?.close();
  client = undefined;
  await stack?.remove();
  stack = undefined;
  server?.close();
  server = undefined;
  await rm(fresh, { recursive: true, force: true });
  for (const { fingerprint } of await trusted()) await d.incus("config", "trust", "remove", fingerprint);
});

async function fingerprintOf(daemon: IncusDaemon): Promise<string> {
  const { fingerprint256 } = new X509Certificate(await readFile(join(daemon.dir, "server.crt")));
  return fingerprint256.replaceAll(":", "").toLowerCase();
}

type Trusted = { name: string; fingerprint: string };
const trusted = (): Promise<Trusted[]> => d.query<Trusted[]>("/1.0/certificates?recursion=1");

async function tokenOf(daemon: IncusDaemon): Promise<string> {
  return (await daemon.incus("config", "trust", "add", "laptop")).trim().split("\n").at(-1) ?? "";
}

function connect(tls: HostConnection["tls"], connection = d.url): IncusClient {
  process.env["INCUS_CONF"] = fresh;
  client = new IncusClient({ name: "board", connection, ...(tls ? { tls } : {}) });
  return client;
}

const pinned = (certificate?: ClientCertificate): NonNullable<HostConnection["tls"]> => {
  const { certificateFile, keyFile } = certificate ?? {};
  return {
    serverFingerprint: fingerprint,
    ...(certificateFile && keyFile ? { certificateFile, keyFile } : {}),
  };
};

const look = (host: IncusClient) => lookAtHost(host, { deadline: 20_000, sizes: false });

async function complaint(task: Promise<unknown>): Promise<string> {
  const message = await task.then(
    () => "",
    (error: unknown) => String(error),
  );
  expect(message.split("\n")).toHaveLength(1);
  return message;
}

describe("a host over https", () => {
  it("is used by pulumi with a client certificate made on first use and a token; the token shows nowhere", {
    timeout: 240_000,
  }, async () => {
    const token = await tokenOf(d);
    const host = { connection: d.url, pool: { name: "fast", driver: "btrfs", size: "5GiB" } };
    const hosts = { board: { ...host, tls: {} } };
    stack = await createStack({ name: "https", hosts, env: { INCUS_CONF: fresh } });
    await stack.setSecret("board.tls.token", token);
    const shown = await stack.preview();
    expect(errorsOf(shown)).toBe("");
    const made = await stack.up();
    expect(errorsOf(made)).toBe("");
    expect(await d.incus("storage", "list", "--format", "csv", "--columns", "nD")).toContain("fast,btrfs");
    expect(changesOf(await stack.up())).toEqual([]);

    expect((await stat(join(fresh, "client.key"))).mode & 0o777).toBe(0o600);
    const own = new X509Certificate(await readFile(join(fresh, "client.crt")));
    const ownFingerprint = own.fingerprint256.replaceAll(":", "").toLowerCase();
    expect(await trusted()).toEqual([
      expect.objectContaining({ name: "laptop", fingerprint: ownFingerprint }),
    ]);
    // The one for the state's secrets would find it otherwise, too.
    expect(`${shown.output}${made.output}`).not.toContain(token);
    const files = await readdir(join(stack.dir, "backend"), { recursive: true, withFileTypes: true });
    const texts = files
      .filter((file) => file.isFile())
      .map((file) => readFile(join(file.parentPath, file.name), "utf8"));
    expect(texts.length).toBeGreaterThan(3);
    for (const text of await Promise.all(texts)) expect(text).not.toContain(token);
    expect(
      await readFile(join(stack.dir, "backend", ".pulumi/stacks/taos-hosts/https.json"), "utf8"),
    ).toContain(fingerprint);
    expect(errorsOf(await stack.destroy())).toBe("");
  });

  it("keeps its key and certificate; one process that was killed between the two is finished by the next", async () => {
    await registerByToken(connect(pinned()), await tokenOf(d));
    expect((await look(connect(pinned()))).pools).toHaveLength(1);
    const key = await readFile(join(fresh, "client.key"), "utf8");
    await rm(join(fresh, "client.crt"));
    connect(pinned());
    expect(await readFile(join(fresh, "client.key"), "utf8")).toBe(key);
    expect(await readFile(join(fresh, "client.crt"), "utf8")).toContain("BEGIN CERTIFICATE");
  });

  it("leaves a token alone where this client is trusted already", async () => {
    await registerByToken(connect(pinned()), await tokenOf(d));
    const spare = await tokenOf(d);
    await registerByToken(connect(pinned()), spare);
    const another = await createCertificate(d);
    await registerByToken(connect(pinned(another)), spare);
    expect(await trusted()).toHaveLength(2);
  });

  it("is trusted on first use where the config says so, and from then on only as it was", async () => {
    const { certificateFile, keyFile } = await trustNewClient(d);
    const first = { certificateFile, keyFile, trustOnFirstUse: true };
    expect((await getServer(connect(first))).auth).toBe("trusted");
    const [kept = ""] = await readdir(join(fresh, "servercerts"));
    const file = join(fresh, "servercerts", kept);
    expect(await readFile(file, "utf8")).toBe(await readFile(join(d.dir, "server.crt"), "utf8"));
    await writeFile(file, await readFile(join(other.dir, "server.crt")));
    expect(await complaint(getServer(connect(first)))).toMatch(/shows certificate .* pinned is/);
  });
});

describe("what is wrong is said in one line, with the way out, before any write", () => {
  it("a token that was used by another client", async () => {
    const token = await tokenOf(d);
    await registerByToken(connect(pinned()), token);
    const another = await createCertificate(d);
    const said = await complaint(registerByToken(connect(pinned(another)), token));
    expect(said).toMatch(
      /"board": the trust token is known there no more: it was used.*incus config trust add/,
    );
    expect(said).not.toContain(token);
  });

  it("a token that has expired", async () => {
    await d.incus("config", "set", "core.remote_token_expiry", "1S");
    const token = await tokenOf(d);
    await d.incus("config", "unset", "core.remote_token_expiry");
    const { expires_at: end } = JSON.parse(Buffer.from(token, "base64").toString()) as { expires_at: string };
    await until(() => Date.now() > Date.parse(end), { what: "the token to expire", deadlineMs: 10_000 });
    expect(await complaint(registerByToken(connect(pinned()), token))).toMatch(
      /the trust token has expired\. On the host: incus config trust add/,
    );
  });

  it("a token of another server", async () => {
    const token = await tokenOf(other);
    const tls = { serverFingerprint: await fingerprintOf(other) };
    expect(await complaint(registerByToken(connect(tls), token))).toMatch(
      new RegExp(`trust token is of another server.*${other.address}:8443.*shows ${fingerprint}`),
    );
  });

  it("a client that is not trusted, and has no token", async () => {
    expect(await complaint(look(connect(pinned())))).toMatch(
      /does not trust this client: it does not know certificate .*fresh\/client\.crt.*incus config trust add NAME/,
    );
  });

  it("a wrong fingerprint", async () => {
    const said = await complaint(look(connect({ serverFingerprint: "0".repeat(64) })));
    expect(said).toMatch(new RegExp(`shows certificate ${fingerprint}, pinned is 0{64}.*incus info`));
  });

  it("a client certificate that has expired, and one that the host's clock takes for not yet valid", async () => {
    const at = (days: number): Date => new Date(Date.now() + days * 86_400_000);
    const old = await createCertificate(d, "old", { from: at(-20), to: at(-10) });
    expect(await complaint(look(connect(pinned(old))))).toMatch(
      /client certificate .* expired on 20.*Make another/,
    );
    expect(await complaint(registerByToken(connect(pinned(old)), await tokenOf(d)))).toMatch(
      /not used: .*expired/,
    );
    const early = await createCertificate(d, "early", { from: at(10), to: at(20) });
    expect(await complaint(look(connect(pinned(early))))).toMatch(
      /its clock says 20.*not yet valid before.*without a battery.*timedatectl/,
    );
  });

  it("a restricted certificate: which right, on which object", async () => {
    const restricted = await trustNewClient(d, ["default"]);
    expect(await complaint(look(connect(pinned(restricted))))).toMatch(
      /lacks the right to see storage pools\. On the host: incus config trust edit/,
    );
    expect(
      await complaint(client?.write("DELETE", "/1.0/storage-pools/default") ?? Promise.resolve()),
    ).toMatch(/lacks the right to delete storage pool default/);
  });

  it("a name that does not resolve, a port where nothing or something else answers", async () => {
    expect(await complaint(look(connect(pinned(), "https://nowhere.invalid:8443")))).toMatch(
      /does not resolve/,
    );
    expect(await complaint(look(connect(pinned(), `https://${d.address}:8444`)))).toMatch(
      /nothing answers at that port.*core\.https_address/,
    );
    server = createServer((_request, response) => response.end("hello"));
    await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    expect(await complaint(look(connect(pinned(), `https://127.0.0.1:${port}`)))).toMatch(/no TLS that fits/);
  });

  it("a host that accepts and stays silent", { timeout: 30_000 }, async () => {
    server = createTcpServer(() => undefined);
    await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    expect(await complaint(look(connect(pinned(), `https://127.0.0.1:${port}`)))).toMatch(
      /does not answer within 10 s/,
    );
  });

  it("files that are no pair, and a key with a passphrase", async () => {
    const [one, two] = await Promise.all([createCertificate(d), createCertificate(d)]);
    const files = { certificateFile: one.certificateFile, keyFile: two.keyFile };
    expect(() => connect({ ...pinned(), ...files })).toThrow(/cannot be used.*belong together/);
    await mkdir(fresh);
    const locked = join(fresh, "locked.key");
    const key = await readFile(one.keyFile, "utf8");
    const cipher = { cipher: "aes-256-cbc", passphrase: "none", type: "pkcs8", format: "pem" } as const;
    await writeFile(locked, createPrivateKey(key).export(cipher));
    expect(() => connect({ ...pinned(one), keyFile: locked })).toThrow(
      /has a passphrase, and nothing is asked/,
    );
  });

  it("a daemon that is too old", async () => {
    // No such Incus runs here: what a real one says, without the extensions that came later.
    const server = await d.query<{ api_extensions: string[]; environment: object }>("/1.0");
    const extensions = server.api_extensions.filter((one) => one !== "storage_buckets_all_projects");
    const environment = { ...server.environment, server_version: "0.4" };
    const old = { ...server, auth: "trusted", api_extensions: extensions, environment };
    const answers = createServer((_request, response) => {
      response.setHeader("content-type", "application/json");
      response.end(
        JSON.stringify({ type: "sync", status_code: 200, error_code: 0, error: "", metadata: old }),
      );
    });
    const socket = join(d.dataDir, "old.socket");
    await new Promise<void>((resolve) => answers.listen(socket, resolve));
    expect(await complaint(look(connect(undefined, `unix:${socket}`)))).toMatch(
      /Incus 0\.4 is too old: it lacks storage_buckets_all_projects\. Upgrade it to 6\.0/,
    );
    await client?.close();
    client = undefined;
    answers.close();
  });
});
