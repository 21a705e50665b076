import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { HostLook } from "../../../providers/host/look.ts";
import { lookAtHost } from "../../../providers/host/look-at-host.ts";
import { IncusClient } from "../../../providers/incus/client.ts";
import { decidePool, reasonOf } from "../../../providers/pool/decision.ts";
import { poolFactsOf } from "../../../providers/pool/facts.ts";
import type { PoolWish } from "../../../providers/pool/wish.ts";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { recordEvents } from "../../testbed/events.ts";
import { startProxy } from "../../testbed/faulty-proxy.ts";
import { importImage } from "../../testbed/images.ts";

const SECRET = "not-to-be-seen-2718";
const AUTO: PoolWish = { name: "default", driver: "auto", source: "loop" };

let daemon: IncusDaemon;
let client: IncusClient;
let fingerprint: string;

function connect(socketPath: string): IncusClient {
  return new IncusClient({ name: "orange-1", connection: `unix:${socketPath}` });
}

function look(sizes = false): Promise<HostLook> {
  return lookAtHost(client, { deadline: 20_000, sizes });
}

async function decision(): Promise<{ action: string; reason: string; blockers: string[] }> {
  const decided = decidePool(AUTO, poolFactsOf(await look(), AUTO));
  return { blockers: [], ...decided, reason: reasonOf(decided) };
}

beforeAll(async () => {
  daemon = await startDaemon({ name: "host-look", https: false });
  client = connect(daemon.socketPath);
  await daemon.incus("storage", "create", "default", "dir");
  await daemon.incus("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default");
  fingerprint = await importImage(daemon, "bb");
});

afterAll(async () => {
  await client.close();
  await daemon.remove();
});

describe("an empty dir pool", () => {
  it("is seen as empty though a profile names it and an image is in the store", async () => {
    const seen = await look();
    expect(seen.pools).toMatchObject([
      { name: "default", driver: "dir", leftovers: [], volumes: [], visible: true },
    ]);
    expect(seen.images).toMatchObject([{ fingerprint, aliases: ["bb"] }]);
    expect(seen.usableDrivers).toContain("btrfs");
    expect(seen.hostFreeBytes).toBeGreaterThan(0);
    expect(seen.filesReadable).toBe(true);
    expect(await decision()).toMatchObject({ action: "recreate", driver: "btrfs" });
  });

  const stray: [string, string[]][] = [
    ["an orphan rootfs", ["containers", "mary", "rootfs", "etc", "hostname"]],
    ["a stray file beside the volumes", ["notes.txt"]],
    ["an unknown directory with a file", ["private", "diary.md"]],
    ["an orphan custom volume", ["custom", "default_memory", "data"]],
    ["an orphan snapshot", ["containers-snapshots", "mary", "before", "rootfs", "x"]],
  ];
  it.each(stray)("is left alone with %s on disk", async (_what, segments) => {
    const pool = join(daemon.dir, "storage-pools", "default");
    const file = join(pool, ...segments);
    await mkdir(join(file, ".."), { recursive: true });
    await writeFile(file, "months of memory");
    try {
      const { action, reason } = await decision();
      expect(action).toBe("leave");
      expect(reason).toContain(`storage-pools/default/${segments[0]}`);
    } finally {
      const [first = "", second = ""] = segments;
      await rm(
        ["containers", "custom", "containers-snapshots"].includes(first)
          ? join(pool, first, second)
          : join(pool, first),
        {
          recursive: true,
        },
      );
    }
    expect(await decision()).toMatchObject({ action: "recreate" });
  });

  it("may have empty directories that Incus leaves behind", async () => {
    const directory = join(daemon.dir, "storage-pools", "default", "containers-snapshots", "gone");
    await mkdir(directory);
    expect(await decision()).toMatchObject({ action: "recreate" });
    await rm(directory, { recursive: true });
  });

  const content: [string, string[][], string[][], string][] = [
    [
      "a custom volume",
      [["storage", "volume", "create", "default", "memory"]],
      [["storage", "volume", "delete", "default", "memory"]],
      "volume memory",
    ],
    ["a stopped container", [["create", "bb", "naira"]], [["delete", "naira"]], "naira"],
    [
      "a container in another project",
      [
        ["project", "create", "user-1000", "-c", "features.images=false", "-c", "features.profiles=false"],
        ["create", "bb", "stanley", "--project", "user-1000"],
      ],
      [
        ["delete", "stanley", "--project", "user-1000"],
        ["project", "delete", "user-1000"],
      ],
      "user-1000/stanley",
    ],
  ];
  it.each(content)("is no longer empty with %s", async (_what, make, undo, blocker) => {
    for (const command of make) await daemon.incus(...command);
    try {
      const { action, blockers } = await decision();
      expect(action).toBe("leave");
      expect(blockers).toContain(blocker);
    } finally {
      for (const command of undo) await daemon.incus(...command);
    }
    expect(await decision()).toMatchObject({ action: "recreate" });
  });
});

describe("a loop file or directory of no pool", () => {
  it("keeps a pool of its name from being created", async () => {
    const image = join(daemon.dir, "disks", "fast.img");
    const directory = join(daemon.dir, "storage-pools", "fast");
    const wish: PoolWish = { name: "fast", driver: "btrfs", source: "loop", size: 6 * 1024 ** 3 };
    await writeFile(image, "");
    await mkdir(directory);
    const decided = decidePool(wish, poolFactsOf(await look(), wish));
    await rm(image);
    await rm(directory, { recursive: true });
    expect(decided).toMatchObject({ action: "refuse" });
    expect(decided.reason).toContain("disks/fast.img and storage-pools/fast");
    expect(decidePool(wish, poolFactsOf(await look(), wish))).toMatchObject({ action: "create" });
  });
});

describe("a host with containers", () => {
  beforeAll(async () => {
    await daemon.incus("project", "create", "user-1000", "-c", "features.images=false");
    await daemon.incus(
      "profile",
      "device",
      "add",
      "default",
      "root",
      "disk",
      "path=/",
      "pool=default",
      "--project",
      "user-1000",
    );
    await daemon.incus(
      "launch",
      "bb",
      "mary",
      "-c",
      `environment.TAOS_BRIDGE_TOKEN=${SECRET}`,
      "-c",
      "user.user-data=#cloud",
    );
    await daemon.incus("snapshot", "create", "mary", "taos-archive-1");
    await daemon.incus("snapshot", "create", "mary", "taos-archive-2");
    await daemon.incus("storage", "volume", "create", "default", "memory");
    await daemon.incus(
      "config",
      "device",
      "add",
      "mary",
      "memory",
      "disk",
      "pool=default",
      "source=memory",
      "path=/srv/memory",
    );
    await daemon.incus("create", "bb", "naira", "-d", "root,size=5GiB", "-c", "boot.autostart=true");
    await daemon.incus("create", "bb", "stanley", "--project", "user-1000");
  });

  it("shows instances of all projects with snapshots, sizes, devices and where the root comes from", async () => {
    const seen = await look(true);
    expect(seen.instances.map(({ project, name }) => `${project}/${name}`)).toEqual([
      "default/mary",
      "default/naira",
      "user-1000/stanley",
    ]);
    const [mary, naira, stanley] = seen.instances;
    expect(mary).toMatchObject({
      status: "Running",
      snapshots: ["taos-archive-1", "taos-archive-2"],
      root: { pool: "default", profile: "default" },
      devices: { memory: { type: "disk", keys: { pool: "default", source: "memory" }, profile: null } },
    });
    expect(naira).toMatchObject({
      status: "Stopped",
      root: { pool: "default", profile: null, sizeBytes: 5 * 1024 ** 3 },
      config: { "boot.autostart": "true", "volatile.base_image": fingerprint },
    });
    expect(stanley?.root).toMatchObject({ pool: "default", profile: "default" });
    for (const { bytes } of seen.instances) expect(bytes).toBeGreaterThan(500_000);
    expect(mary?.snapshotBytes).toBeGreaterThan(1_000_000);
    expect(await decision()).toMatchObject({
      action: "leave",
      blockers: [
        "mary",
        "naira",
        "user-1000/stanley",
        "snapshot mary/taos-archive-1",
        "snapshot mary/taos-archive-2",
        "volume memory",
      ],
    });
  });

  it("carries no secret and survives JSON", async () => {
    const seen = await look(true);
    const text = JSON.stringify(seen);
    expect(text).not.toContain(SECRET);
    expect(text).not.toContain("environment.");
    expect(text).not.toContain("#cloud");
    expect(JSON.parse(text)).toEqual(seen);
  });

  it("writes nothing", async () => {
    const record = await recordEvents(daemon);
    await look(true);
    expect(await record.stop()).toEqual([]);
  });

  it("asks a constant number of requests, all of them reads", async () => {
    const proxy = await startProxy(daemon);
    const counted = connect(proxy.socketPath);
    try {
      const few = await lookAtHost(counted, { deadline: 20_000, sizes: false });
      const before = proxy.requests.length;
      for (const name of ["a1", "a2", "a3", "a4"]) await daemon.incus("create", "bb", name);
      const more = await lookAtHost(counted, { deadline: 20_000, sizes: false });
      expect(more.instances.length - few.instances.length).toBe(4);
      expect(proxy.requests.length - before).toBe(before);
      expect(proxy.writes()).toEqual([]);
    } finally {
      await counted.close();
      await proxy.close();
    }
  });

  it("ends at its deadline when the host does not answer", async () => {
    const proxy = await startProxy(daemon);
    const stalled = connect(proxy.socketPath);
    proxy.failNext(/instances/, "stall");
    try {
      await expect(lookAtHost(stalled, { deadline: 1_500, sizes: false })).rejects.toThrow(/did not answer/);
    } finally {
      proxy.cutAll();
      await stalled.close();
      await proxy.close();
    }
  });
});
