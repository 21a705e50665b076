import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { parseHosts } from "../../infra/config/config.ts";
import { gatherFacts } from "../../infra/facts/facts.ts";
import { planErrors, planHosts } from "../../infra/plan/plan.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { type FaultyProxy, startProxy } from "../testbed/faulty-proxy.ts";
import {
  journalOf,
  makeDirAgain,
  mkfsWrapper,
  POOL,
  type Profiles,
  poolArgs,
  setUpEmptyPool,
  showPool,
  showProfiles,
} from "./empty-pool.ts";
import { startProvider } from "./start-provider.ts";

const WRITE = /^(?!GET|HEAD|OPTIONS)/;
/** Journal, three profiles, pool out, pool in, three profiles, journal: what a recreation writes. */
const WRITES = 10;
const MADE = {
  driver: "btrfs",
  status: "Created",
  description: POOL.description,
  config: {
    "user.note": POOL.note,
    "rsync.bwlimit": "50MiB",
    "user.taos.owner": "taos-hosts/test/board/default",
  },
};
const OLD = {
  driver: "dir",
  status: "Created",
  description: POOL.description,
  config: { "user.note": POOL.note, "rsync.bwlimit": "50MiB" },
};

describe("an interrupted recreation of an empty dir pool", () => {
  let d: IncusDaemon;
  let proxy: FaultyProxy;
  let profiles: Profiles;
  let pool: unknown;

  beforeAll(async () => {
    d = await startDaemon({ name: "recreate" });
    await setUpEmptyPool(d);
    profiles = await showProfiles(d);
    pool = await showPool(d);
  });
  afterAll(async () => {
    await proxy?.close();
    await d?.remove();
  });
  beforeEach(async () => {
    await proxy?.close();
    proxy = await startProxy(d);
    if (((await showPool(d)) as { driver: string }).driver !== "dir") await makeDirAgain(d, profiles);
    expect(await showPool(d)).toEqual(pool);
    expect(await showProfiles(d)).toEqual(profiles);
  });

  /** The next `up`: the recreation is finished, nothing of it is left, no profile has changed by a byte. */
  async function finishes(): Promise<void> {
    const next = await startProvider("StoragePool", "create", poolArgs(proxy.socketPath));
    expect(next.all).toContain("ended");
    expect(await showPool(d)).toEqual(MADE);
    expect(await showProfiles(d)).toEqual(profiles);
    expect(await journalOf(d)).toBeUndefined();
  }

  test(`without interruption it takes ${WRITES} writes`, async () => {
    await finishes();
    expect(proxy.writes()).toHaveLength(WRITES);
  });

  const steps = Array.from({ length: WRITES }, (_, index) => index + 1);

  test.each(steps)("the provider killed when write %i is done: the next run finishes", async (nth) => {
    const kill = async (): Promise<void> => {
      child.kill("SIGKILL");
      await child;
    };
    proxy.onNext(WRITE, "after", kill, nth);
    const child = startProvider("StoragePool", "create", poolArgs(proxy.socketPath));
    expect((await child).signal).toBe("SIGKILL");
    expect(proxy.writes()).toHaveLength(nth);
    await finishes();
  });

  test.each([1, 4, 5, 6, 8])(
    "the daemon killed when write %i arrives: the next run finishes",
    async (nth) => {
      proxy.onNext(WRITE, "before", () => d.kill(), nth);
      const cut = await startProvider("StoragePool", "create", poolArgs(proxy.socketPath));
      expect(cut.exitCode).toBe(1);
      await d.start();
      await finishes();
    },
  );

  /** A run that was killed after it had taken the disks out of the profiles, before it deleted the pool. */
  async function killBeforeDelete(): Promise<void> {
    const kill = async (): Promise<void> => {
      child.kill("SIGKILL");
      await child;
    };
    proxy.onNext(WRITE, "after", kill, 4);
    const child = startProvider("StoragePool", "create", poolArgs(proxy.socketPath));
    await child;
    expect(await d.incus("profile", "device", "list", "default")).toBe("eth0");
  }

  test("what came on the pool since the kill is not deleted: pool and profiles stay", async () => {
    await killBeforeDelete();
    const orphan = join(d.dir, "storage-pools/default/containers/lost/rootfs");
    await mkdir(orphan, { recursive: true });
    await writeFile(join(orphan, "memory"), "months of it");
    const next = await startProvider("StoragePool", "create", poolArgs(proxy.socketPath));
    expect(next.all).toContain(
      "left as it is: used by files unknown to the database: storage-pools/default/containers/lost",
    );
    expect(await readFile(join(orphan, "memory"), "utf8")).toBe("months of it");
    expect(await showPool(d)).toEqual(OLD);
    expect(await showProfiles(d)).toEqual(profiles);
    expect(await journalOf(d)).toBeUndefined();
    await rm(join(d.dir, "storage-pools/default/containers/lost"), { recursive: true });
    await finishes();
  });

  test("whoever wants the dir pool meanwhile has it back", async () => {
    await killBeforeDelete();
    const next = await startProvider(
      "StoragePool",
      "create",
      poolArgs(proxy.socketPath, { driver: "dir", size: undefined }),
    );
    expect(next.all).toContain("ended");
    expect(await showPool(d)).toEqual(OLD);
    expect(await showProfiles(d)).toEqual(profiles);
    expect(await journalOf(d)).toBeUndefined();
  });

  describe("with programs that fail", () => {
    const path = process.env["PATH"];
    async function withMkfs(script: string): Promise<void> {
      process.env["PATH"] = `${await mkfsWrapper(d, script)}:${path}`;
      await d.restart();
    }
    afterEach(async () => {
      process.env["PATH"] = path;
      if (d.pid === undefined) await d.start();
      else await d.restart();
      await finishes();
    });

    test.each([
      ["is broken", "exit 1", /exit status 1/],
      ["finds no space", "echo 'No space left on device' >&2; exit 1", /No space left on device/],
    ])("mkfs.btrfs %s: pool and profiles are back as they were", async (_what, script, message) => {
      await withMkfs(script);
      const failed = await startProvider("StoragePool", "create", poolArgs(proxy.socketPath));
      expect(failed.exitCode).toBe(1);
      expect(failed.all).toMatch(message);
      expect(failed.all).toContain("The dir pool and its profiles are back as they were.");
      expect(await showPool(d)).toEqual(OLD);
      expect(await showProfiles(d)).toEqual(profiles);
      expect(await journalOf(d)).toBeUndefined();
      expect(existsSync(join(d.dir, "disks/default.img"))).toBe(false);
    });

    test("the daemon killed while mkfs.btrfs runs", async () => {
      await withMkfs('kill -9 "$(cat "$0.pid")"; exit 1');
      await writeFile(join(d.dataDir, "programs/mkfs.btrfs.pid"), String(d.pid));
      const failed = await startProvider("StoragePool", "create", poolArgs(proxy.socketPath));
      expect(failed.exitCode).toBe(1);
      expect(existsSync(join(d.dir, "disks/default.img"))).toBe(true);
      await d.start();
      expect(await showPool(d)).toMatchObject({ driver: "btrfs", status: "Unavailable" });
      // The plan does not take the half-made pool, or its loop file, for somebody's and hold the host for it.
      const hosts = parseHosts({ board: { connection: `unix:${d.socketPath}`, pool: { size: "6GiB" } } });
      const plan = planHosts(hosts, await gatherFacts(hosts), { project: "taos-hosts", stack: "test" });
      expect(planErrors(plan)).toEqual([]);
      expect(plan.hosts[0]?.actions[0]).toMatchObject({
        kind: "recreate-pool",
        reason: "btrfs: its interrupted recreation is finished",
      });
    });
  });

  test("no room for the loop file is said before anything is done", async () => {
    const failed = await startProvider(
      "StoragePool",
      "create",
      poolArgs(proxy.socketPath, { size: 2 ** 50 }),
    );
    expect(failed.exitCode).toBe(1);
    expect(failed.all).toMatch(/are free on the host, .* are needed for the loop file/);
    expect(proxy.writes()).toEqual([]);
  });
});
