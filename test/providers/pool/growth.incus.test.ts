import { createHash, randomBytes } from "node:crypto";
import { mkdir, stat, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { parseHosts } from "../../../infra/config/config.ts";
import { gatherFacts } from "../../../infra/facts/facts.ts";
import { type HostPlan, planHosts } from "../../../infra/plan/plan.ts";
import { clientFor } from "../../../providers/index.ts";
import { growPool } from "../../../providers/pool/growth.ts";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { loopDevice } from "../../testbed/disks.ts";
import { recordEvents } from "../../testbed/events.ts";
import { unmountBelow } from "../../testbed/leftovers.ts";
import { trustNewClient } from "../../testbed/trust.ts";
import { TestResource } from "../resource.ts";

const GIB = 1024 ** 3;

describe("the size of a pool is what the world says", () => {
  let d: IncusDaemon;
  let pool: TestResource;
  beforeAll(async () => {
    d = await startDaemon({ name: "pool-growth", https: true });
  });
  afterAll(() => d?.remove());
  beforeEach(async () => {
    await d.reset();
    pool = new TestResource(d, "StoragePool", "default");
  });

  const file = (): string => join(d.dir, "disks/default.img");
  const mount = (): string => join(d.dir, "storage-pools/default");
  const data = (): string => join(mount(), "custom/default_memory/data");
  const run = async (command: string, ...args: string[]): Promise<string> =>
    (await execa(command, args, { stdin: "ignore", timeout: 60_000 })).stdout;
  const device = (): Promise<string> => run("losetup", "--noheadings", "--output", "NAME", "-j", file());
  /** Sizes in GiB of loop file, loop device and file system, by their own tools. */
  const sizes = async (): Promise<number[]> => [
    (await stat(file())).size / GIB,
    Number(await run("cat", `/sys/class/block/${basename(await device())}/size`)) / (GIB / 512),
    Number(await run("stat", "--file-system", "--format=%b", mount())) / (GIB / 4096),
  ];
  const setting = (): Promise<string> => d.incus("storage", "get", "default", "size");

  async function growByHand(gib: number, until: "file" | "device" | "file system"): Promise<void> {
    await run("truncate", "-s", `${gib}GiB`, file());
    if (until === "file") return;
    await run("losetup", "-c", await device());
    if (until === "file system") await run("btrfs", "filesystem", "resize", "max", mount());
  }

  /** Data beyond the first GiB of the pool; what is before it is reserved and never written. @returns its checksum */
  async function fill(reservedGib: number): Promise<string> {
    await d.incus("storage", "volume", "create", "default", "memory");
    await run("fallocate", "-l", `${reservedGib}GiB`, join(mount(), "custom/default_memory/reserved"));
    await writeFile(data(), randomBytes(32 * 1024 ** 2));
    await run("sync", "--file-system", data());
    return checksum();
  }

  /** Read from the disk, past the cache. */
  async function checksum(): Promise<string> {
    const { stdout } = await execa("dd", [`if=${data()}`, "iflag=direct", "bs=1M", "status=none"], {
      encoding: "buffer",
      stdin: "ignore",
      timeout: 60_000,
      maxBuffer: 64 * 1024 ** 2,
    });
    return createHash("sha256").update(stdout).digest("hex");
  }

  async function plan(
    size: string,
    connection: object = { connection: `unix:${d.socketPath}` },
  ): Promise<HostPlan> {
    const hosts = parseHosts({ orange: { ...connection, pool: { driver: "btrfs", size } } });
    const [planned] = planHosts(hosts, await gatherFacts(hosts), { project: "p", stack: "s" }).hosts;
    if (!planned) throw new Error("no plan");
    return planned;
  }
  const kinds = ({ actions }: HostPlan): string[] =>
    actions.map(({ kind }) => kind).filter((kind) => kind.endsWith("-pool"));

  test("a pool grown by hand and filled is never cut to the size in the config", async () => {
    await d.incus("storage", "create", "default", "btrfs", "size=5GiB");
    await growByHand(9, "file system");
    const before = await fill(7);

    const planned = await plan("7GiB");
    expect(kinds(planned)).toEqual([]);
    expect(planned.remarks.join("\n")).toContain(
      "pool default has 9.0 GiB already, though Incus' own setting says 5.0 GiB: it was grown by hand and is left as it is",
    );
    expect(planned.pool.sizeBytes).toBe(9 * GIB);
    const record = await recordEvents(d);
    expect(await pool.up({ name: "default", driver: "btrfs", size: 7 * GIB })).toBe("create");
    expect(await pool.refresh()).toBe(false);
    // Planned a moment before the hand's work: refused where it is written.
    const client = clientFor({ name: "orange", connection: `unix:${d.socketPath}` });
    await expect(growPool(client, "default", 7 * GIB)).rejects.toThrow(
      /Refusing to grow pool "default" to 7GiB/,
    );
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
    expect(await sizes()).toEqual([9, 9, 9]);
    expect(await checksum()).toBe(before);

    // A wish beyond all of them is granted.
    expect(kinds(await plan("11GiB"))).toEqual(["grow-pool"]);
    expect(await pool.up({ name: "default", driver: "btrfs", size: 11 * GIB })).toBe("update");
    expect(await sizes()).toEqual([11, 11, 11]);
    expect(await setting()).toBe("11GiB");
    expect(await checksum()).toBe(before);
    expect(await pool.refresh()).toBe(false);
  });

  test.each([
    [
      "file",
      [9, 5, 5],
      /its loop file 9\.0 GiB, \/dev\/loop\d+ 5\.0 GiB, its file system 5\.0 GiB.*losetup -c \/dev\/loop\d+/s,
    ],
    ["device", [9, 9, 5], /its file system 5\.0 GiB.*btrfs filesystem resize max/s],
  ] as const)("a growth by hand that ended at the %s is left, and said", async (until, seen, words) => {
    await d.incus("storage", "create", "default", "btrfs", "size=5GiB");
    await growByHand(9, until);
    for (const size of ["7GiB", "12GiB"]) {
      const planned = await plan(size);
      expect(kinds(planned)).toEqual([]);
      expect(planned.remarks.join("\n")).toMatch(words);
    }
    expect(await pool.up({ name: "default", driver: "btrfs", size: 7 * GIB })).toBe("create");
    expect(await pool.up({ name: "default", driver: "btrfs", size: 12 * GIB })).toBe("update");
    expect(await pool.refresh()).toBe(false);
    expect(await sizes()).toEqual(seen);
    expect(await setting()).toBe("5GiB");
  });

  test("a loop file behind a symlink, its setting without a unit, is treated alike", async () => {
    await d.incus("storage", "create", "default", "btrfs", `size=${5 * GIB}`);
    const before = await fill(3);
    await d.stop();
    await unmountBelow(mount());
    await mkdir(join(d.dataDir, "big"));
    await run("mv", file(), join(d.dataDir, "big/default.img"));
    await symlink(join(d.dataDir, "big/default.img"), file());
    await d.start();
    expect(kinds(await plan("7GiB"))).toEqual(["grow-pool"]);
    await pool.up({ name: "default", driver: "btrfs", size: 7 * GIB });
    const target = (): Promise<number> =>
      stat(join(d.dataDir, "big/default.img")).then(({ size }) => size / GIB);
    expect(await target()).toBe(7);
    expect(await checksum()).toBe(before);
    await run("truncate", "-s", "9GiB", file());
    expect(kinds(await plan("8GiB"))).toEqual([]);
    await pool.up({ name: "default", driver: "btrfs", size: 8 * GIB });
    expect(await target()).toBe(9);
    expect(await checksum()).toBe(before);
  });

  test("a pool on a block device is used, and the wish for a size is answered", async () => {
    const disk = await loopDevice(d, GIB);
    await d.incus("storage", "create", "default", "btrfs", `source=${disk.device}`);
    const planned = await plan("7GiB");
    expect(kinds(planned)).toEqual([]);
    expect(planned.refusals).toEqual([]);
    expect(planned.remarks.join("\n")).toContain("pool default is on no loop file of Incus' own");
    expect(await pool.up({ name: "default", driver: "btrfs", size: 7 * GIB })).toBe("create");
    expect(await pool.refresh()).toBe(false);
    expect((await stat(disk.file)).size).toBe(GIB);
  });

  test("a pool whose file is out of reach grows only where all that can be read agrees", async () => {
    await d.incus("storage", "create", "default", "btrfs", "size=5GiB");
    const { certificateFile, keyFile, serverCertificateFile } = await trustNewClient(d);
    const far = { connection: d.url, tls: { certificateFile, keyFile, serverCertificateFile } };
    const client = clientFor({ name: "orange", ...far });
    expect(kinds(await plan("6GiB", far))).toEqual(["grow-pool"]);
    await growPool(client, "default", 6 * GIB);
    expect(await sizes()).toEqual([6, 6, 6]);
    await growByHand(9, "file system");
    for (const [size, words] of [
      ["7GiB", "grown by hand"],
      ["12GiB", "cannot be read over this connection"],
    ] as const) {
      const planned = await plan(size, far);
      expect(kinds(planned)).toEqual([]);
      expect(planned.remarks.join("\n")).toContain(words);
    }
    await expect(growPool(client, "default", 7 * GIB)).rejects.toThrow(/Refusing to grow/);
    expect(await sizes()).toEqual([9, 9, 9]);
  });
});
