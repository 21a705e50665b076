import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { parseHosts } from "../../../infra/config/config.ts";
import { gatherFacts } from "../../../infra/facts/facts.ts";
import { IncusClient } from "../../../providers/incus/client.ts";
import { resolveEndpoint } from "../../../providers/incus/connection.ts";
import { getServer } from "../../../providers/incus/server.ts";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { setUpHost } from "../../testbed/host-setup.ts";

let d: IncusDaemon;
/** The Incus client's folder of the person. */
let folder: string;
let client: IncusClient | undefined;
const conf = process.env["INCUS_CONF"];

type Remotes = Record<string, Record<string, unknown>>;

beforeAll(async () => {
  d = await startDaemon({ name: "remotes", https: true });
  await setUpHost(d, { driver: "dir" });
  await d.incus("project", "create", "orchard");
  folder = join(d.dataDir, "person");
  await mkdir(folder);
  process.env["INCUS_CONF"] = folder;
  const token = (await d.incus("config", "trust", "add", "person")).trim().split("\n").at(-1) ?? "";
  await incus("remote", "add", "board", token);
});
afterAll(async () => {
  if (conf === undefined) delete process.env["INCUS_CONF"];
  else process.env["INCUS_CONF"] = conf;
  await d?.remove();
});
afterEach(async () => {
  await client?.close();
  client = undefined;
});

/** The person's own Incus client. */
async function incus(...args: string[]): Promise<void> {
  await execa("incus", args, { env: { INCUS_CONF: folder, INCUS_SOCKET: d.socketPath }, stdin: "ignore" });
}

async function changeRemotes(change: (remotes: Remotes) => void): Promise<void> {
  const file = join(folder, "config.yml");
  const config = parse(await readFile(file, "utf8")) as { remotes: Remotes };
  change(config.remotes);
  await writeFile(file, stringify(config));
}

async function authBy(connection: string): Promise<string> {
  await client?.close();
  client = new IncusClient({ name: "board", connection });
  return (await getServer(client)).auth;
}

describe("a remote of the Incus client", () => {
  it("is reached as that client reaches it, in its project", async () => {
    expect(await authBy("remote:board")).toBe("trusted");
    await incus("project", "switch", "board:orchard");
    const hosts = parseHosts({ board: { connection: "remote:board", agents: { iris: { image: "bb" } } } });
    expect(hosts["board"]?.project).toBe("orchard");
    expect(hosts["board"]?.agents["iris"]?.project).toBe("orchard");
    const facts = (await gatherFacts(hosts))["board"];
    expect(facts && "look" in facts && facts.look.projects.map(({ name }) => name)).toContain("orchard");
    const own = parseHosts({ board: { connection: "remote:board", project: "default" } });
    expect(own["board"]?.project).toBe("default");
  });

  it("may have several addresses, and a certificate of its own", async () => {
    await changeRemotes((remotes) => {
      remotes["many"] = { ...remotes["board"], addr: `https://127.0.0.1:1, ${d.url}` };
    });
    await writeFile(
      join(folder, "servercerts", "many.crt"),
      await readFile(join(folder, "servercerts/board.crt")),
    );
    await mkdir(join(folder, "clientcerts"));
    for (const kind of ["crt", "key"])
      await rename(join(folder, `client.${kind}`), join(folder, "clientcerts", `many.${kind}`));
    expect(await authBy("remote:many")).toBe("trusted");
    expect(() => resolveEndpoint({ name: "board", connection: "remote:board" })).toThrow(
      /Cannot read the client certificate of host "board".*client\.crt/,
    );
    for (const kind of ["crt", "key"])
      await rename(join(folder, "clientcerts", `many.${kind}`), join(folder, `client.${kind}`));
  });

  it("may be a socket", async () => {
    await changeRemotes((remotes) => {
      remotes["here"] = { addr: `unix://${d.socketPath}`, protocol: "incus" };
    });
    expect(await authBy("remote:here")).toBe("trusted");
    const local = resolveEndpoint(
      { name: "board", connection: "remote:local" },
      { INCUS_CONF: folder, INCUS_SOCKET: "/x" },
    );
    expect(local).toEqual({ kind: "unix", socketPath: "/x" });
  });

  it("is refused by name where it is something else, is not there, or leaves its server to authorities", async () => {
    await changeRemotes((remotes) => {
      remotes["single"] = { addr: d.url, protocol: "incus", auth_type: "oidc" };
      remotes["hub"] = { addr: "https://docker.io", protocol: "oci", public: true };
      remotes["open"] = { addr: d.url, protocol: "incus" };
    });
    const refusal = (name: string): string => {
      try {
        resolveEndpoint({ name: "board", connection: `remote:${name}` });
      } catch (error) {
        return String(error);
      }
      return "";
    };
    expect(refusal("images")).toMatch(/Host "board": remote images is a server of images \(simplestreams\)/);
    expect(refusal("hub")).toMatch(/remote hub is a server of images \(oci\)/);
    expect(refusal("single")).toMatch(/remote single logs in by oidc.*incus remote add/);
    expect(refusal("open")).toMatch(/no server certificate at .*open\.crt.*tls\.serverFingerprint/);
    expect(refusal("nowhere")).toMatch(
      /there is no remote nowhere in .*config\.yml\. Known there: local, .*board/,
    );
    const config = { a: { connection: "remote:nowhere" } };
    expect(() => parseHosts(config)).toThrow(/hosts\.a\.connection: there is no remote nowhere/);
    await rm(join(folder, "config.yml"));
    expect(refusal("board")).toMatch(/Known there: local\./);
  });
});
