import { chmod, chown } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createStack, errorsOf, type TestStack } from "./pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "./testbed/daemon.ts";
import { recordEvents } from "./testbed/events.ts";
import { startProxy } from "./testbed/faulty-proxy.ts";
import { serveFile } from "./testbed/https-site.ts";
import { importImage, testImage } from "./testbed/images.ts";

type Json = Record<string, unknown>;

const AGENT = { image: "taos-base" };
const LONG_NAME = "a".repeat(5_000);

/** What is wrong, and what the error must hold: the config path, the reason, the way out. */
const MISTAKES: { what: string; host: Json; says: RegExp[] }[] = [
  {
    what: "an unknown key",
    host: { agnets: {} },
    says: [/hosts\.orange\.agnets: unknown key/, /Did you mean agents\?/],
  },
  { what: "size 10XB", host: { pool: { size: "10XB" } }, says: [/orange\.pool\.size: "10XB"/, /50GiB/] },
  {
    what: "pool name ../x",
    host: { pool: { name: "../x" } },
    says: [/orange\.pool\.name: must start and end with/],
  },
  {
    what: "a negative memory",
    host: { agents: { iris: { ...AGENT, memory: "-1GiB" } } },
    says: [/orange\.agents\.iris\.memory: "-1GiB"/, /512MiB/],
  },
  {
    what: "an image file that is missing",
    host: { images: [{ alias: "taos-new", file: "images/nowhere.tar.gz" }] },
    says: [/orange\.images\[0\]\.file: .*images\/nowhere\.tar\.gz" does not exist/],
  },
  {
    what: "an unknown driver",
    host: { pool: { driver: "ext4" } },
    says: [/orange\.pool\.driver: must be one of auto, btrfs/],
  },
  {
    what: "a name of 5,000 characters",
    host: { agents: { [LONG_NAME]: AGENT } },
    says: [/orange\.agents\.a{60}… \(5000 characters\): a name must have at most 63/],
  },
  {
    what: "a newline in an environment value",
    host: { agents: { iris: { ...AGENT, environment: { TOKEN: "one\nlxc.hook.start=two" } } } },
    says: [/orange\.agents\.iris\.environment\.TOKEN: a value must hold no newline/, /under files/],
  },
  {
    what: "one name under agents and containers",
    host: { agents: { iris: AGENT }, containers: { iris: {} } },
    says: [
      /orange\.agents\.iris: the name is under containers too/,
      /under containers, what this stack creates under agents/,
    ],
  },
];

describe("bad input is refused before any write", () => {
  let d: IncusDaemon;
  let stack: TestStack;
  beforeAll(async () => {
    d = await startDaemon({ name: "refusals" });
    await importImage(d, "taos-base");
    stack = await createStack({ name: "refusals", hosts: {} });
  });
  afterAll(async () => {
    await stack?.remove();
    await d?.remove();
  });

  /** Runs up on a host that differs from a good one by `host`, and expects a refusal without a write. */
  async function refused(
    host: Json,
    through: string[] = [],
    env: Record<string, string> = {},
  ): Promise<string> {
    await stack.setHosts({ orange: { connection: `unix:${d.socketPath}`, images: ["taos-base"], ...host } });
    const record = await recordEvents(d);
    const up = await stack.up({ through, env });
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
    expect(up.exitCode).not.toBe(0);
    expect(up.output).not.toMatch(/^ +at .*:\d+:\d+\)?$/m);
    expect(await stack.resources()).toEqual([]);
    return errorsOf(up);
  }

  for (const { what, host, says } of MISTAKES) {
    test(what, async () => {
      const errors = await refused(host);
      for (const pattern of says) expect(errors).toMatch(pattern);
      expect(errors).not.toContain("lxc.hook.start");
    });
  }

  test("an image file with another sha256", async () => {
    const { unifiedFile: file } = await testImage();
    const errors = await refused({ images: [{ alias: "taos-new", file, sha256: "0".repeat(64) }] });
    expect(errors).toMatch(
      /hosts\.orange\.images\[0\]: image file .* has sha256 [0-9a-f]{64}, not 0{64}\. Correct it/,
    );
  });

  test("an image from the web with another sha256", async () => {
    const site = await serveFile(d, (await testImage()).unifiedFile);
    try {
      const images = [{ alias: "taos-new", url: site.url, sha256: "1".repeat(64) }];
      const errors = await refused({ images }, [], { NODE_EXTRA_CA_CERTS: site.caFile });
      expect(errors).toMatch(
        /hosts\.orange\.images\[0\]: Image https:.* has sha256 [0-9a-f]{64}, 1{64} is configured\. Correct/,
      );
    } finally {
      await site.close();
    }
  });

  test("a socket that is not there", async () => {
    const errors = await refused({ connection: "unix:/nowhere/unix.socket" });
    expect(errors).toMatch(
      /Host "orange" cannot be reached over \/nowhere\/unix\.socket: .*Is Incus installed and running/,
    );
  });

  test("a socket without permission", async () => {
    const proxy = await startProxy(d);
    try {
      await chown(proxy.socketPath, 65_534, 65_534);
      await chmod(proxy.socketPath, 0o600);
      // Root without the capability to pass over file modes is any user.
      const through = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"];
      const errors = await refused({ connection: `unix:${proxy.socketPath}` }, through);
      expect(errors).toMatch(/Host "orange" cannot be reached over .*EACCES.* group "incus-admin"/);
      expect(proxy.requests).toEqual([]);
    } finally {
      await proxy.close();
    }
  });
});
