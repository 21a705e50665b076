import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseHosts } from "../../../infra/config/config.ts";
import { checkFiles } from "../../../infra/config/files.ts";

function mistake(raw: unknown): string {
  try {
    parseHosts(raw);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  throw new Error("the config was accepted");
}

const host = (config: unknown): unknown => ({ "orange-1": config });
const agent = (config: object): unknown => host({ agents: { iris: { image: "taos-base", ...config } } });

describe("a config", () => {
  it("has defaults for everything but the name", () => {
    const parsed = parseHosts({ "orange-1": null })["orange-1"];
    expect(parsed).toEqual({
      name: "orange-1",
      connection: { name: "orange-1", connection: "unix" },
      project: "default",
      pool: { driver: "auto", source: "loop" },
      bridge: undefined,
      images: [],
      containers: {},
      agents: {},
      optIn: { migrate: [], pinRoot: [], replace: [], undo: [], removeParked: [], forceStop: [] },
      migrateParallel: 1,
    });
  });

  it("pins a server by its trust token, and keeps the token from what resources get", () => {
    const fingerprint = "ab".repeat(32);
    const content = { fingerprint, addresses: ["10.0.0.7:8443"], secret: "sesame" };
    const token = Buffer.from(JSON.stringify(content)).toString("base64");
    const board = (tls: object) => parseHosts(host({ connection: "https://h", tls }))["orange-1"];
    expect(board({ token: `${token}\n` })?.connection.tls).toEqual({ serverFingerprint: fingerprint });
    expect(board({ token })?.trustToken).toBe(token);
    const other = { serverFingerprint: "0".repeat(64) };
    expect(board({ token, ...other })?.connection.tls).toEqual(other);
    expect(board({ token: "(secret)" })?.connection.tls).toEqual({});
  });

  it("gives sizes in bytes, times in ms, texts for bare numbers, and warms the images that agents name", () => {
    const parsed = parseHosts(
      host({
        project: "user-1000",
        pool: { size: "50GiB" },
        images: ["taos-base", { alias: "big", url: "https://example.org/x.tar.gz", sha256: "A".repeat(64) }],
        containers: { mary: null, naira: { project: "default", stopTimeout: "2m" } },
        agents: {
          iris: {
            image: "taos-hermes-base",
            cpu: 2,
            environment: { PORT: 8080, DEBUG: true },
            ready: { command: ["true"], timeout: 5 },
          },
        },
        optIn: { migrate: ["mary", "mary"] },
      }),
    )["orange-1"];
    expect(parsed?.pool.size).toBe(50 * 1024 ** 3);
    expect(parsed?.images).toEqual([
      { alias: "taos-base" },
      { alias: "big", source: { url: "https://example.org/x.tar.gz", sha256: "a".repeat(64) } },
      { alias: "taos-hermes-base" },
    ]);
    expect(parsed?.containers["mary"]).toEqual({
      protected: true,
      project: "user-1000",
      stopTimeout: 60_000,
    });
    expect(parsed?.containers["naira"]).toMatchObject({ project: "default", stopTimeout: 120_000 });
    expect(parsed?.agents["iris"]).toMatchObject({
      cpu: "2",
      environment: { PORT: "8080", DEBUG: "true" },
      ready: { command: ["true"], timeout: 5_000 },
      protected: true,
    });
    expect(parsed?.optIn.migrate).toEqual(["mary"]);
  });
});

describe("a mistake is refused with its path and the way out", () => {
  const long = "x".repeat(5_000);
  const cases: [string, unknown, string][] = [
    ["no hosts", {}, "taos-hosts:hosts: must be a map with at least one host"],
    ["unknown key", host({ optin: {} }), "taos-hosts:hosts.orange-1.optin: unknown key. Did you mean optIn?"],
    [
      "unknown key inside",
      host({ optIn: { migrat: [] } }),
      "orange-1.optIn.migrat: unknown key. Did you mean migrate?",
    ],
    ["size", host({ pool: { size: "10XB" } }), 'orange-1.pool.size: "10XB" is no size'],
    [
      "a size too small for a loop file",
      host({ pool: { size: "3GiB" } }),
      "orange-1.pool.size: a loop file has at least 5.0 GiB",
    ],
    ["pool name", host({ pool: { name: "../x" } }), "orange-1.pool.name: must start and end with"],
    ["worker pool", host({ pool: { name: "taos-worker-pool" } }), "belongs to the taOS worker"],
    [
      "driver",
      host({ pool: { driver: "ext4" } }),
      "orange-1.pool.driver: must be one of auto, btrfs, zfs, dir",
    ],
    ["source", host({ pool: { source: "here" } }), "orange-1.pool.source: must be loop"],
    [
      "source in Incus' directory",
      host({ pool: { source: "/var/lib/incus/x" } }),
      "orange-1.pool.source: must not be below",
    ],
    [
      "size of a device",
      host({ pool: { source: "/dev/sda", size: "9GiB" } }),
      "orange-1.pool.size: only a loop file has a size",
    ],
    ["negative memory", agent({ memory: "-1GiB" }), "orange-1.agents.iris.memory:"],
    ["zero disk", agent({ disk: 0 }), "orange-1.agents.iris.disk:"],
    [
      "newline in a value",
      agent({ environment: { TOKEN: "a\nlxc.x=y" } }),
      "orange-1.agents.iris.environment.TOKEN: a value must hold no newline",
    ],
    [
      "environment under config",
      agent({ config: { "environment.A": "b" } }),
      "config.environment.A: set it under environment",
    ],
    ["volatile key", agent({ config: { "volatile.uuid": "b" } }), "volatile keys are Incus' own"],
    ["own key", agent({ config: { "user.taos.owner": "b" } }), "user.taos keys are this program's own"],
    [
      "memory under config",
      agent({ config: { "limits.memory": "1GiB" } }),
      "set memory of the agent instead",
    ],
    [
      "two idmaps",
      agent({ idmapUid: 1000, config: { "raw.idmap": "both 1 1" } }),
      "set either raw.idmap or idmapUid",
    ],
    [
      "an undo beside its opposite",
      host({ containers: { mary: {} }, optIn: { migrate: ["mary"], undo: ["mary"] } }),
      'optIn.undo[0]: "mary" is under optIn.migrate, too, and an undo goes back',
    ],
    ["idmap to root", agent({ idmapUid: 0 }), "orange-1.agents.iris.idmapUid: must not be root of the host"],
    [
      "root device",
      agent({ devices: { root: { pool: "tank" } } }),
      "devices.root.pool: the root disk comes from the pool",
    ],
    ["device without type", agent({ devices: { gpu: { id: "0" } } }), "devices.gpu: a device needs a type"],
    [
      "file with two contents",
      agent({ files: [{ path: "/a", content: "", source: "b" }] }),
      "files[0]: must have either content or source",
    ],
    [
      "relative file",
      agent({ files: [{ path: "a", content: "" }] }),
      "files[0].path: must be an absolute path",
    ],
    ["ready", agent({ ready: "soon" }), "orange-1.agents.iris.ready: must be network, none or"],
    ["no image", host({ agents: { iris: {} } }), "orange-1.agents.iris.image: is missing"],
    [
      "plain http",
      host({ images: [{ alias: "a", url: "http://x/y", sha256: "0".repeat(64) }] }),
      "images[0].url: must be an https:// URL",
    ],
    [
      "url without sum",
      host({ images: [{ alias: "a", url: "https://x/y" }] }),
      "images[0].sha256: must be the file's SHA-256",
    ],
    ["half an image", host({ images: [{ alias: "a", rootfs: "r" }] }), "images[0]: an image has one of"],
    ["image twice", host({ images: ["a", "a"] }), 'images[1]: alias "a" is listed twice'],
    ["https without pin", host({ connection: "https://h:8443" }), "orange-1.tls: an https connection needs"],
    [
      "a token that is none",
      host({ connection: "https://h:8443", tls: { token: "sesame" } }),
      "orange-1.tls.token: is no trust token",
    ],
    [
      "first use beside a pin",
      host({ connection: "https://h", tls: { serverFingerprint: "0".repeat(64), trustOnFirstUse: true } }),
      "orange-1.tls.trustOnFirstUse: the server is pinned already",
    ],
    [
      "two pins",
      host({
        connection: "https://h",
        tls: { serverFingerprint: "0".repeat(64), serverCertificateFile: "server.crt" },
      }),
      "orange-1.tls: has both serverCertificateFile and serverFingerprint",
    ],
    ["connection", host({ connection: "ftp://h" }), "orange-1.connection: must be unix"],
    [
      "name twice",
      host({ containers: { mary: {} }, agents: { mary: { image: "a" } } }),
      "orange-1.agents.mary: the name is under containers too",
    ],
    ["container name", host({ containers: { "-x": {} } }), "orange-1.containers.-x: a name must"],
    [
      "opt-in by case",
      host({ containers: { mary: {} }, optIn: { migrate: ["Mary"] } }),
      'optIn.migrate[0]: "Mary" is not listed under containers or agents. Nearest there: mary',
    ],
    [
      "opt-in by prefix",
      host({ containers: { mary: {} }, optIn: { pinRoot: ["mar"] } }),
      'optIn.pinRoot[0]: "mar" is not listed under containers or agents. Nearest there: mary',
    ],
    [
      "opt-in misspelt",
      host({ containers: { stanley: {} }, optIn: { removeParked: ["stanly"] } }),
      "Nearest there: stanley",
    ],
    [
      "opt-in of the wrong kind",
      host({ containers: { mary: {} }, optIn: { replace: ["mary"] } }),
      "is not listed under agents",
    ],
    ["long host name", { [long]: {} }, "must have at most 64 characters"],
    ["long agent name", host({ agents: { [long]: { image: "a" } } }), "must have at most 63 characters"],
    ["long pool name", host({ pool: { name: long } }), "orange-1.pool.name: must have at most 64 characters"],
    ["long opt-in", host({ optIn: { migrate: [long] } }), "is not listed under containers"],
  ];
  it.each(cases)("%s", (_what, raw, expected) => {
    const message = mistake(raw);
    expect(message).toContain(expected);
    expect(message).toContain("nothing was done");
    expect(Math.max(...message.split("\n").map((line) => line.length))).toBeLessThan(500);
  });

  it("every one of them, in one message", () => {
    const message = mistake({ a: { pool: { size: "x" } }, b: { bogus: 1, images: [{ alias: "-" }] } });
    expect(message).toMatch(/3 mistakes/);
    expect(message.split("\n")).toHaveLength(4);
  });
});

describe("messages", () => {
  it("never hold a value of environment or files", () => {
    const secret = fc.string({ minLength: 12, unit: fc.constantFrom("s", "3", "c", "\n", "\0", "R") });
    fc.assert(
      fc.property(secret, (value) => {
        const bad = {
          image: "a",
          environment: { TOKEN: `${value}\n` },
          files: [{ path: "x", content: value, source: value }],
        };
        expect(mistake(host({ agents: { iris: bad } }))).not.toContain(value);
      }),
    );
  });

  it("come for whatever is given, as an error meant for people", () => {
    fc.assert(
      fc.property(fc.anything(), (raw) => {
        try {
          parseHosts({ "orange-1": raw });
        } catch (error) {
          expect(error).toMatchObject({ name: "VisibleError" });
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("files that the config names", () => {
  it("are made absolute where they are there, and named with their path where not", () => {
    const directory = mkdtempSync(join(tmpdir(), "taos-hosts-config-"));
    try {
      writeFileSync(join(directory, "image.tar.gz"), "x");
      const hosts = parseHosts(host({ images: [{ alias: "a", file: "image.tar.gz" }] }));
      expect(checkFiles(hosts, directory)["orange-1"]?.images).toEqual([
        { alias: "a", source: { file: join(directory, "image.tar.gz") } },
      ]);
      const missing = parseHosts(
        host({
          images: [{ alias: "a", file: "none" }],
          agents: { iris: { image: "a", files: [{ path: "/a", source: "gone" }] } },
        }),
      );
      const files = join(directory, "none");
      expect(() => checkFiles(missing, directory)).toThrow(
        `taos-hosts:hosts.orange-1.images[0].file: "${files}" does not exist`,
      );
      expect(() => checkFiles(missing, directory)).toThrow("agents.iris.files[0].source");
      expect(() => checkFiles(missing, directory)).toThrow(/nothing was done/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
