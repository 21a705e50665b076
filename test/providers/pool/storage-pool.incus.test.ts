import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { btrfsMount, loopDevice } from "../../testbed/disks.ts";
import { recordEvents } from "../../testbed/events.ts";
import { importImage } from "../../testbed/images.ts";
import { TestResource } from "../resource.ts";

const GIB = 1024 ** 3;
const WANTED = { name: "default", driver: "btrfs", size: 5 * GIB };

describe("StoragePool", () => {
  let d: IncusDaemon;
  let pool: TestResource;
  beforeAll(async () => {
    d = await startDaemon({ name: "storage-pool" });
  });
  afterAll(() => d?.remove());
  beforeEach(async () => {
    await d.reset();
    pool = new TestResource(d, "StoragePool", "default");
  });
  const value = (key: string): Promise<string> => d.incus("storage", "get", "default", key);
  const pools = async (): Promise<string[]> =>
    (await d.query<{ name: string; driver: string }[]>("/1.0/storage-pools?recursion=1")).map(
      ({ name, driver }) => `${name} ${driver}`,
    );

  test("is made on a loop file of the wanted size, found unchanged, and deleted", async () => {
    expect(await pool.up(WANTED)).toBe("create");
    expect(pool.state).toMatchObject({ pool: "default", effectiveDriver: "btrfs", adopted: false });
    expect((await stat(join(d.dir, "disks/default.img"))).size).toBe(5 * GIB);
    expect(await value("user.taos.owner")).toBe("p/s/orange/default");
    expect(await pool.refresh()).toBe(false);
    expect(await pool.up(WANTED)).toBe("same");
    await pool.destroy();
    expect(await pools()).toEqual([]);
  });

  test("is made on a block device", async () => {
    const { device } = await loopDevice(d, GIB);
    expect(await pool.up({ name: "default", driver: "btrfs", source: device })).toBe("create");
    expect(await pools()).toEqual(["default btrfs"]);
    expect(await pool.refresh()).toBe(false);
    expect(await pool.up({ name: "default", driver: "btrfs", source: device })).toBe("same");
    await pool.destroy();
    expect(await pools()).toEqual([]);
  });

  test("is never made on a block device that holds a file system", async () => {
    const { device } = await loopDevice(d, GIB);
    await execa("mkfs.ext4", ["-q", device], { stdin: "ignore", timeout: 60_000 });
    const up = pool.up({ name: "default", driver: "btrfs", source: device });
    await expect(up).rejects.toThrow(/appears to contain an existing filesystem \(ext4\)/);
    await execa("fsck.ext4", ["-n", "-f", device], { stdin: "ignore", timeout: 60_000 });
    expect(await pools()).toEqual([]);
  });

  test("is made in a directory of a btrfs", async () => {
    const { path } = await btrfsMount(d, GIB);
    const source = join(path, "incus");
    expect(await pool.up({ name: "default", driver: "btrfs", source })).toBe("create");
    expect(await value("source")).toBe(source);
    expect(await pool.refresh()).toBe(false);
    expect(await pool.up({ name: "default", driver: "btrfs", source })).toBe("same");
  });

  test("is never made in a directory that holds anything: Incus would delete it with the pool", async () => {
    const { path } = await btrfsMount(d, GIB);
    await writeFile(join(path, "photos"), "of years");
    await expect(pool.up({ name: "default", driver: "btrfs", source: path })).rejects.toThrow(
      /it holds photos, and Incus would delete that.*\/incus\./,
    );
    expect(await pools()).toEqual([]);
  });

  test("in a directory that others have put files in is left", async () => {
    const source = join((await btrfsMount(d, GIB)).path, "incus");
    await pool.up({ name: "default", driver: "btrfs", source });
    await writeFile(join(source, "photos"), "of years");
    await pool.destroy();
    expect(await pools()).toEqual(["default btrfs"]);
    expect(await readFile(join(source, "photos"), "utf8")).toBe("of years");
  });

  test("that fits is adopted: no write, not deleted", async () => {
    await d.incus("storage", "create", "default", "btrfs", "size=5GiB");
    const record = await recordEvents(d);
    expect(await pool.up({ name: "default" })).toBe("create");
    expect(pool.state).toMatchObject({ adopted: true, effectiveDriver: "btrfs" });
    expect(await pool.refresh()).toBe(false);
    await pool.destroy();
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
    expect(await pools()).toEqual(["default btrfs"]);
  });

  test("of ours is recognised after a run that was killed, and still deleted with the stack", async () => {
    await pool.up(WANTED);
    pool.forget();
    expect(await pool.up(WANTED)).toBe("create");
    expect(pool.state).toMatchObject({ adopted: false });
    await pool.destroy();
    expect(await pools()).toEqual([]);
  });

  test("whose config was changed by hand is mended, and what others set survives", async () => {
    await pool.up({ ...WANTED, description: "taOS agents" });
    await d.incus("storage", "unset", "default", "user.taos.owner");
    await d.incus("storage", "set", "default", "user.theirs=kept");
    expect(await pool.refresh()).toBe(true);
    expect(await pool.up({ ...WANTED, description: "taOS agents" })).toBe("update");
    expect(await value("user.taos.owner")).toBe("p/s/orange/default");
    expect(await value("user.theirs")).toBe("kept");
    expect(await pool.refresh()).toBe(false);
  });

  test("grows and never shrinks", async () => {
    await pool.up(WANTED);
    expect(await pool.up({ ...WANTED, size: 6 * GIB })).toBe("update");
    expect((await stat(join(d.dir, "disks/default.img"))).size).toBe(6 * GIB);
    expect(await pool.refresh()).toBe(false);
    await pool.up({ ...WANTED, size: 5 * GIB });
    expect((await stat(join(d.dir, "disks/default.img"))).size).toBe(6 * GIB);
    expect(await value("size")).toBe("6GiB");
    expect(await pool.refresh()).toBe(false);
    expect(await pool.up({ name: "default", driver: "btrfs" })).toBe("same");
    expect(await value("size")).toBe("6GiB");
  });

  test("that vanished is reported, with both ways out, and never papered over", async () => {
    await pool.up(WANTED);
    await d.incus("storage", "delete", "default");
    expect(await pool.refresh()).toBe(true);
    await expect(pool.up(WANTED)).rejects.toThrow(
      /"default" was there and is missing now.*incus admin recover.*state delete/,
    );
    expect(await pools()).toEqual([]);
  });

  test.each(["disks/default.img", "storage-pools/default"])(
    "%s left by a lost database is refused and stays",
    async (left) => {
      const file = left.endsWith(".img") ? join(d.dir, left) : join(d.dir, left, "data");
      await mkdir(join(file, ".."), { recursive: true });
      await writeFile(file, "months of memory");
      await expect(pool.up(WANTED)).rejects.toThrow(left);
      expect(await readFile(file, "utf8")).toBe("months of memory");
      expect(await pools()).toEqual([]);
    },
  );

  test("that is not empty is left, and said so", async () => {
    await pool.up(WANTED);
    await importImage(d, "taos-base");
    await d.incus("init", "taos-base", "mary", "--storage=default");
    const said: string[] = [];
    const write = process.stdout.write.bind(process.stdout);
    process.stdout.write = (text: string | Uint8Array) => {
      said.push(String(text));
      return true;
    };
    await pool.destroy().finally(() => {
      process.stdout.write = write;
    });
    expect(said.join("")).toContain("orange: pool default: left in place: it holds mary");
    expect(await pools()).toEqual(["default btrfs"]);
  });

  test("of another driver is refused with what to set", async () => {
    await d.incus("storage", "create", "other", "btrfs", "size=1GiB");
    const other = new TestResource(d, "StoragePool", "other");
    await expect(other.up({ name: "other", driver: "zfs" })).rejects.toThrow(
      /has driver btrfs, zfs is wanted\. Set driver: btrfs/,
    );
    await other.up({ name: "other", driver: "btrfs" });
    await expect(other.up({ name: "other", driver: "btrfs", source: "/dev/loop99" })).rejects.toThrow(
      /source is loop and cannot be changed/,
    );
  });

  test("an empty dir pool becomes btrfs under its name, its profiles' disks put back", async () => {
    await d.incus("storage", "create", "default", "dir");
    await d.incus(
      "profile",
      "device",
      "add",
      "default",
      "root",
      "disk",
      "path=/",
      "pool=default",
      "size=3GiB",
    );
    expect(await pool.up({ name: "default", size: 5 * GIB })).toBe("create");
    expect(await pools()).toEqual(["default btrfs"]);
    expect(await d.incus("profile", "device", "get", "default", "root", "size")).toBe("3GiB");
    expect(await pool.refresh()).toBe(false);
  });

  test("a dir pool with a container on it is left alone", async () => {
    await d.incus("storage", "create", "default", "dir");
    await importImage(d, "taos-base");
    await d.incus("init", "taos-base", "mary", "--storage=default");
    const record = await recordEvents(d);
    expect(await pool.up({ name: "default" })).toBe("create");
    expect(pool.state).toMatchObject({ effectiveDriver: "dir", adopted: true });
    expect(await pool.up(WANTED)).toBe("update");
    expect(await pool.up({ ...WANTED, driver: "zfs" })).toBe("update");
    expect(pool.state).toMatchObject({ effectiveDriver: "dir", adopted: true, left: true });
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
  });

  describe("that the config does not name", () => {
    const giveProfile = (of: string): Promise<string> =>
      d.incus("profile", "device", "add", "default", "disk", "disk", "path=/", `pool=${of}`);
    const repoint = (to: string): Promise<string> =>
      d.incus("profile", "device", "set", "default", "disk", `pool=${to}`);

    test("is the default profile's, used and never deleted; it follows the profile", async () => {
      await d.incus("storage", "create", "ssd", "btrfs", "size=512MiB");
      await d.incus("storage", "create", "hdd", "btrfs", "size=512MiB");
      await giveProfile("ssd");
      const record = await recordEvents(d);
      const args = { name: "default", isUnnamed: true };
      expect(await pool.up(args)).toBe("create");
      expect(pool.state).toMatchObject({ name: "default", pool: "ssd", adopted: true, left: false });
      expect(await pool.refresh()).toBe(false);
      expect(await pool.up(args)).toBe("same");
      await record.stop();
      expect(record.lifecycle()).toEqual([]);
      await repoint("hdd");
      expect(await pool.refresh()).toBe(false);
      expect(pool.state).toMatchObject({ pool: "hdd", adopted: true });
      await pool.destroy();
      expect((await pools()).sort()).toEqual(["hdd btrfs", "ssd btrfs"]);
    });

    test("is left where it is an empty dir pool with a name of its own", async () => {
      await d.incus("storage", "create", "ssd", "dir");
      await giveProfile("ssd");
      expect(await pool.up({ name: "default", isUnnamed: true })).toBe("create");
      expect(pool.state).toMatchObject({ pool: "ssd", effectiveDriver: "dir", left: true });
      expect(await pool.refresh()).toBe(false);
      expect(await pools()).toEqual(["ssd dir"]);
    });

    test("has its second pool beside it, which stays the second one once the profile is on it", async () => {
      await d.incus("storage", "create", "ssd", "dir");
      await giveProfile("ssd");
      const args = { name: "default-cow", insteadOf: "default", isUnnamed: true, size: 5 * GIB };
      const cow = new TestResource(d, "StoragePool", "default-cow");
      await cow.up(args);
      expect(cow.state).toMatchObject({ pool: "ssd-cow", effectiveDriver: "btrfs", adopted: false });
      await repoint("ssd-cow");
      await pool.up({ name: "default", isUnnamed: true });
      expect(pool.state).toMatchObject({ pool: "ssd", left: true });
      expect(await cow.refresh()).toBe(false);
      expect(await cow.up(args)).toBe("same");
      await d.incus("storage", "delete", "ssd");
      expect(await pool.refresh()).toBe(false);
      expect(pool.state).toMatchObject({ pool: "ssd-cow", adopted: true });
      expect(await cow.refresh()).toBe(false);
      expect(await cow.up(args)).toBe("same");
      await d.incus("profile", "device", "remove", "default", "disk");
      await pool.destroy();
      expect(await pools()).toEqual(["ssd-cow btrfs"]);
      await cow.destroy();
      expect(await pools()).toEqual([]);
    });
  });
});
