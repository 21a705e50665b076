import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { parseHosts } from "../../infra/config/config.ts";
import { gatherFacts } from "../../infra/facts/facts.ts";
import { planErrors, planHosts } from "../../infra/plan/plan.ts";
import { report } from "../../infra/report/report.ts";
import { get } from "../../providers/index.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { recordEvents } from "../testbed/events.ts";
import { type FaultyProxy, startProxy } from "../testbed/faulty-proxy.ts";
import { setUpHost } from "../testbed/host-setup.ts";
import { importImage } from "../testbed/images.ts";
import { trustNewClient } from "../testbed/trust.ts";
import { addUserProject, fingerprintOf, USER_PROJECT } from "./board.ts";
import { poolArgs } from "./empty-pool.ts";

type Json = Record<string, unknown>;

describe("a dir pool that only looks empty", () => {
  let d: IncusDaemon;
  let proxy: FaultyProxy;

  beforeAll(async () => {
    d = await startDaemon({ name: "not-empty", https: true });
    await setUpHost(d, { driver: "dir" });
    await importImage(d, "bb");
    await addUserProject(d);
    proxy = await startProxy(d);
  });
  afterAll(async () => {
    await proxy?.close();
    await d?.remove();
  });

  /** The report of a host, and the errors on which its `up` would fail. */
  async function planOf(host: Json): Promise<{ text: string; errors: string }> {
    const hosts = parseHosts({ board: host });
    const plan = planHosts(hosts, await gatherFacts(hosts), { project: "taos-hosts", stack: "test" });
    return { text: unwrapped(report(plan, "text")), errors: planErrors(plan).join("\n") };
  }

  /** Whichever driver is asked for, and whoever acts: nothing is written, and the reason is named everywhere. */
  async function expectLeft(reason: string | RegExp): Promise<void> {
    const before = await fingerprintOf(d);
    const events = await recordEvents(d);
    const connection = `unix:${proxy.socketPath}`;
    for (const driver of ["auto", "btrfs", "zfs"]) {
      const left = await planOf({ connection, pool: { driver } });
      expect(left.text).toMatch("board: nothing to do");
      expect(left.text).toMatch(reason);
      expect(left.errors).toBe("");
      const made = await get("StoragePool").create(poolArgs(proxy.socketPath, { driver }));
      expect(made.outs).toMatchObject({ left: true, effectiveDriver: "dir" });
    }
    await events.stop();
    expect(events.events).toEqual([]);
    expect(proxy.writes()).toEqual([]);
    const { global: _g, local: _l, ...files } = await fingerprintOf(d);
    expect(before).toMatchObject(files);
  }

  const sql = (statement: string): Promise<string> => d.incus("admin", "sql", "global", statement);

  const cases: {
    what: string;
    reason: string;
    make: () => Promise<unknown>;
    undo: () => Promise<unknown>;
  }[] = [
    {
      what: "a stopped, archived container",
      reason: "used by taos-agent-old, snapshot taos-agent-old/taos-archive-20260101",
      make: async () => {
        await d.incus("init", "bb", "taos-agent-old");
        await d.incus("snapshot", "create", "taos-agent-old", "taos-archive-20260101");
      },
      undo: () => d.incus("delete", "taos-agent-old"),
    },
    {
      what: "a container in another project",
      reason: "used by user-1000/stanley",
      make: () => d.incus("--project", USER_PROJECT, "init", "bb", "stanley"),
      undo: () => d.incus("--project", USER_PROJECT, "delete", "stanley"),
    },
    {
      what: "a custom volume in another project",
      reason: "used by volume user-1000/memories",
      make: () => d.incus("--project", USER_PROJECT, "storage", "volume", "create", "default", "memories"),
      undo: () => d.incus("--project", USER_PROJECT, "storage", "volume", "delete", "default", "memories"),
    },
    {
      what: "a volume that keeps the server's backups",
      reason: "daemon setting storage.backups_volume",
      make: async () => {
        await d.incus("storage", "volume", "create", "default", "backups");
        await d.incus("config", "set", "storage.backups_volume", "default/backups");
      },
      undo: async () => {
        await d.incus("config", "unset", "storage.backups_volume");
        await d.incus("storage", "volume", "delete", "default", "backups");
      },
    },
    {
      // A bucket of a dir pool takes a MinIO server to make; what counts here is that the daemon has one on record.
      what: "a bucket",
      reason: "used by bucket memories",
      make: () =>
        sql(
          "INSERT INTO storage_buckets (name, storage_pool_id, node_id, description, project_id) SELECT 'memories', id, 1, '', 1 FROM storage_pools WHERE name = 'default'",
        ),
      undo: () => sql("DELETE FROM storage_buckets"),
    },
    {
      what: "a root file system that the database does not know",
      reason: "files unknown to the database: storage-pools/default/containers/mary",
      make: async () => {
        await mkdir(join(d.dir, "storage-pools/default/containers/mary/rootfs"), { recursive: true });
        await writeFile(join(d.dir, "storage-pools/default/containers/mary/rootfs/memory"), "months");
      },
      undo: () => rm(join(d.dir, "storage-pools/default/containers/mary"), { recursive: true }),
    },
    {
      what: "a snapshot that the database does not know",
      reason: "files unknown to the database: storage-pools/default/containers-snapshots/mary",
      make: async () => {
        await mkdir(join(d.dir, "storage-pools/default/containers-snapshots/mary/monday"), {
          recursive: true,
        });
      },
      undo: () => rm(join(d.dir, "storage-pools/default/containers-snapshots/mary"), { recursive: true }),
    },
    {
      what: "a stray file",
      reason: "files unknown to the database: storage-pools/default/.notes",
      make: () => writeFile(join(d.dir, "storage-pools/default/.notes"), "do not lose"),
      undo: () => rm(join(d.dir, "storage-pools/default/.notes")),
    },
  ];

  describe.each(cases)("$what", ({ reason, make, undo }) => {
    afterEach(async () => {
      await undo();
    });
    test("is named, and the pool is left", async () => {
      await make();
      await expectLeft(reason);
    });
  });

  test("files that cannot be read may be anything: over https an empty pool is left", async () => {
    const { certificateFile, keyFile, serverCertificateFile } = await trustNewClient(d);
    const tls = { certificateFile, keyFile, serverCertificateFile };
    const events = await recordEvents(d);
    const host = { name: "board", connection: d.url, tls };
    for (const driver of ["auto", "btrfs"]) {
      const left = await planOf({ connection: d.url, tls, pool: { driver } });
      expect(left.text).toMatch(/cannot be read over this connection.*Run on the host itself as root/);
      expect(left.errors).toBe("");
      const made = await get("StoragePool").create(poolArgs("", { host, driver }));
      expect(made.outs).toMatchObject({ left: true });
    }
    await events.stop();
    expect(events.events).toEqual([]);
  });
});

/** The report's wrapped lines as one text. */
function unwrapped(text: string): string {
  return text.replaceAll(/\n {4}(?=\S)/g, " ");
}
