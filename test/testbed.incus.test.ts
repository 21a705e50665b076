import { existsSync } from "node:fs";
import { appendFile, link, mkdir, readFile, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { get as httpGet } from "node:http";
import { get as httpsGet } from "node:https";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type IncusDaemon, startDaemon } from "./testbed/daemon.ts";
import { btrfsMount, ext4Mount, loopDevice } from "./testbed/disks.ts";
import { recordEvents } from "./testbed/events.ts";
import { type FaultyProxy, startProxy } from "./testbed/faulty-proxy.ts";
import { setUpHost } from "./testbed/host-setup.ts";
import { buildBigImage, importImage, testImage } from "./testbed/images.ts";
import { loopsBelow, mountsBelow } from "./testbed/leftovers.ts";
import { diffManifests, manifest } from "./testbed/manifest.ts";
import { linksWithAlias } from "./testbed/network.ts";
import { daemonPaths } from "./testbed/paths.ts";
import { daemonProcesses, processIdentity } from "./testbed/processes.ts";
import { createCertificate, trustNewClient } from "./testbed/trust.ts";

describe("two hosts side by side", () => {
  let first: IncusDaemon;
  let second: IncusDaemon;

  beforeAll(async () => {
    first = await startDaemon({ name: "testbed-a" });
    second = await startDaemon({ name: "testbed-b", https: true });
    await setUpHost(first, { driver: "btrfs", size: "1GiB" });
    await setUpHost(second, { driver: "dir" });
    await importImage(first, "busybox");
    await importImage(second, "busybox");
  });
  afterAll(async () => {
    await first?.remove();
    await second?.remove();
  });

  test("containers of one name run on both, each with an address of its own bridge", async () => {
    for (const host of [first, second]) {
      await host.incus("launch", "busybox", "mary");
      expect(await host.ipv4("mary")).toMatch(/^10\./);
      expect(await host.incus("exec", "mary", "--", "cat", "/etc/template-stamp")).toBe("create mary");
    }
    expect(await readFile(join(first.rootfs("default", "mary"), "etc/hostname"), "utf8")).toBe("mary\n");
  });

  test("a running container on a dir pool is frozen for its snapshot", async () => {
    await second.incus("launch", "busybox", "frozen");
    await second.incus("snapshot", "create", "frozen", "before");
    expect(await second.query("/1.0/instances/frozen/snapshots")).toEqual([
      "/1.0/instances/frozen/snapshots/before",
    ]);
    await second.incus("delete", "--force", "frozen");
  });

  test("the API answers over TLS from the tests' namespace to a trusted client only", async () => {
    const client = await trustNewClient(second);
    const stranger = await createCertificate(second);
    const ask = async (certificateFile: string, keyFile: string): Promise<string> => {
      const [cert, key, ca] = await Promise.all(
        [certificateFile, keyFile, client.serverCertificateFile].map((file) => readFile(file)),
      );
      const body = await answer((done) =>
        httpsGet(`${second.url}/1.0`, { cert, key, ca, checkServerIdentity: () => undefined }, done),
      );
      return (JSON.parse(body) as { metadata: { auth: string } }).metadata.auth;
    };
    expect(await ask(client.certificateFile, client.keyFile)).toBe("trusted");
    expect(await ask(stranger.certificateFile, stranger.keyFile)).toBe("untrusted");
    const trusted = await second.query<{ fingerprint: string }[]>("/1.0/certificates?recursion=1");
    expect(trusted.map(({ fingerprint }) => fingerprint)).toContain(client.fingerprint);
  });

  test("containers outlive a crash and a restart of their daemon", async () => {
    await first.incus("launch", "busybox", "survivor");
    const pid = await containerPid(first, "survivor");
    await first.kill();
    expect(existsSync(`/proc/${pid}`)).toBe(true);
    await first.start();
    await first.restart();
    expect(await containerPid(first, "survivor")).toBe(pid);
    await first.incus("delete", "--force", "survivor");
  });

  test("raw.idmap of uid 1000 is accepted", async () => {
    await first.incus("launch", "busybox", "mapped", "-c", "raw.idmap=both 1000 1000");
    expect(await first.incus("exec", "mapped", "--", "cat", "/proc/self/uid_map")).toMatch(
      /1000\s+1000\s+1\n/,
    );
    await first.incus("delete", "--force", "mapped");
  });

  test("a container can be made to ignore its stop", async () => {
    await first.incus("launch", "busybox", "stubborn");
    await first.incus("exec", "stubborn", "--", "touch", "/etc/ignore-stop");
    await expect(first.incus("stop", "stubborn", "--timeout=2")).rejects.toThrow();
    await first.incus("exec", "stubborn", "--", "rm", "/etc/ignore-stop");
    await first.incus("stop", "stubborn", "--timeout=20");
    await first.incus("delete", "stubborn");
  });

  test("a second process cannot take a daemon that is in use", async () => {
    await expect(startDaemon({ name: "testbed-a" })).rejects.toThrow("in use by process");
    expect(await first.query("/1.0/storage-pools")).toEqual(["/1.0/storage-pools/default"]);
  });

  test("reset makes a virgin daemon at the same address, remove leaves nothing", async () => {
    await second.incus("launch", "busybox", "forwarded", "-s", "default");
    await second.incus(
      "config",
      "device",
      "add",
      "forwarded",
      "web",
      "proxy",
      "listen=tcp:0.0.0.0:8080",
      "connect=tcp:127.0.0.1:80",
    );
    const { address } = second;
    await second.reset();
    expect(second.address).toBe(address);
    expect(await second.query("/1.0/instances")).toEqual([]);
    expect(await second.query("/1.0/storage-pools")).toEqual([]);
    await setUpHost(second, { driver: "btrfs", size: "512MiB" });
    await importImage(second, "busybox");
    await second.incus("launch", "busybox", "forwarded");
    await second.incus(
      "config",
      "device",
      "add",
      "forwarded",
      "web",
      "proxy",
      "listen=tcp:0.0.0.0:8090",
      "connect=tcp:127.0.0.1:80",
    );
    const { stdout: proxies } = await execa("pgrep", ["-f", "forkproxy.*:8090"]);
    await second.kill();
    await second.remove();
    for (const pid of proxies.split("\n")) expect(await processIdentity(Number(pid))).toBeUndefined();
    await expectNothingLeft("testbed-b");
    expect(await first.query("/1.0/storage-pools")).toEqual(["/1.0/storage-pools/default"]);
  });
});

describe("what tests look with", () => {
  let host: IncusDaemon;

  beforeAll(async () => {
    host = await startDaemon({ name: "testbed-tools" });
    await setUpHost(host, { driver: "dir" });
    await importImage(host, "busybox");
  });
  afterAll(() => host?.remove());

  test("events tell what was written, and that nothing was", async () => {
    const quiet = await recordEvents(host);
    await host.query("/1.0/storage-pools?recursion=1");
    expect(await quiet.stop()).toEqual([]);

    const record = await recordEvents(host);
    await host.incus("init", "busybox", "seen");
    await host.incus("config", "set", "seen", `user.long=${"x".repeat(70_000)}`);
    await record.stop();
    expect(record.lifecycle()).toContain("instance-created /1.0/instances/seen");
    expect(record.events.some(({ type }) => type === "operation")).toBe(true);
    await host.incus("delete", "seen");
  });

  test("both image forms carry the delicate files, and fingerprints are as told", async () => {
    const image = await testImage();
    await host.incus("image", "import", image.unifiedFile, "--alias", "unified");
    const images = await host.query<string[]>("/1.0/images");
    expect(images.sort()).toEqual(
      [image.fingerprint, image.unifiedFingerprint].map((each) => `/1.0/images/${each}`).sort(),
    );
    await host.incus("init", "busybox", "split");
    await host.incus("init", "unified", "unified");
    const [split, unified] = [
      await manifest(host.rootfs("default", "split")),
      await manifest(host.rootfs("default", "unified")),
    ];
    expect(diffManifests(split, unified, { ignoreFields: ["mtime"] })).toEqual([]);
    expect(split.get("srv/hardlink-b")).toMatchObject({ linkedTo: "srv/hardlink-a", nlink: 2 });
    expect(split.get("srv/setuid")?.mode).toBe("4755");
    expect(split.get("srv/attribute")?.xattrs).toEqual({ "user.taos.test": "0x6b657074" });
    expect(Object.keys(split.get("srv/capable")?.xattrs ?? {})).toEqual(["security.capability"]);
    expect(split.get("srv/dangling")).toMatchObject({ type: "symlink", target: "nowhere/at/all" });
    for (const name of ["split", "unified"]) await host.incus("delete", name);
  });

  test("a big image has the asked size and is made once", async () => {
    const wanted = { fileCount: 300, bytes: 4_000_000 };
    const image = await buildBigImage(wanted);
    expect(await buildBigImage(wanted)).toEqual(image);
    await importImage(host, "big", image);
    await host.incus("launch", "big", "big");
    const files = [...(await manifest(join(host.rootfs("default", "big"), "opt"))).values()].filter(
      ({ type }) => type === "file",
    );
    expect(files).toHaveLength(300);
    expect(files.reduce((sum, { size }) => sum + Number(size), 0)).toBe(4_000_000);
    await host.incus("delete", "--force", "big");
  });

  test("disks are seen by the daemon and can be pool sources", async () => {
    const disk = await loopDevice(host, 256 * 1024 ** 2);
    await host.incus("storage", "create", "block", "btrfs", `source=${disk.device}`);
    await host.restart();
    expect(await host.query("/1.0/storage-pools/block")).toMatchObject({ status: "Created" });
    const volume = await btrfsMount(host, 256 * 1024 ** 2);
    await host.incus("storage", "create", "subvolume", "btrfs", `source=${volume.path}/pool`);
    const small = await ext4Mount(host, 64 * 1024 ** 2);
    await writeFile(join(small.path, "file"), "");
    for (const pool of ["block", "subvolume"]) await host.incus("storage", "delete", pool);
    for (const each of [disk, volume, small]) await each.remove();
    expect(await loopsBelow(host.dataDir)).toEqual([]);
  });
});

describe("manifest", () => {
  const root = "/var/tmp/taos-hosts-test-manifest";

  beforeEach(async () => {
    await rm(root, { recursive: true, force: true });
    await mkdir(join(root, "dir"), { recursive: true });
    await writeFile(join(root, "dir/a"), "one");
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  test("names every kind of change, by its path in bytes", async () => {
    const odd = Buffer.concat([Buffer.from(`${root}/new\nline\\ `), Buffer.from([0xff, 0xe4])]);
    await writeFile(odd, "odd");
    await link(join(root, "dir/a"), join(root, "z"));
    await symlink("old", join(root, "link"));
    await execa("mkfifo", [join(root, "fifo")]);
    await execa("mknod", [join(root, "null"), "c", "1", "3"]);
    await execa("setfacl", ["-m", "u:1234:r", join(root, "dir/a")]);
    const before = await manifest(root);
    expect(diffManifests(before, await manifest(root))).toEqual([]);
    expect(before.get("new\nline\\ ÿä")?.size).toBe(3n);
    expect(before.get("z")?.linkedTo).toBe("dir/a");
    expect(before.get("fifo")?.type).toBe("fifo");
    expect(before.get("null")).toMatchObject({ type: "character device", rdev: 259n });
    expect(Object.keys(before.get("dir/a")?.xattrs ?? {})).toEqual(["system.posix_acl_access"]);

    await rm(join(root, "z"));
    await rm(join(root, "fifo"));
    await writeFile(join(root, "z"), "one");
    await utimes(odd, 1, 1);
    await appendFile(join(root, "dir/a"), "two");
    await execa("setfattr", ["-n", "user.new", "-v", "x", join(root, "dir")]);
    await writeFile(join(root, "more"), "");
    const lines = diffManifests(before, await manifest(root), { ignore: (path) => path === "." });
    expect(lines).toContain('+ "more"');
    expect(lines).toContain('- "fifo"');
    expect(lines.map((line) => line.split(" ").slice(0, 3).join(" "))).toEqual(
      expect.arrayContaining(['~ "dir": xattrs', '~ "dir/a": sha256', '~ "dir/a": nlink', '~ "z": linkedTo']),
    );
    expect(lines.some((line) => line.includes("ÿä") && line.includes("mtime"))).toBe(true);
  });
});

describe("faulty proxy", () => {
  let host: IncusDaemon;
  let proxy: FaultyProxy;

  beforeAll(async () => {
    host = await startDaemon({ name: "testbed-proxy" });
    proxy = await startProxy(host);
  });
  afterAll(async () => {
    await proxy?.close();
    await host?.remove();
  });

  const ask = (path: string): Promise<string> =>
    answer((done) => httpGet({ socketPath: proxy.socketPath, path, agent: false }, done));
  const change = (value: string) =>
    execa("incus", ["config", "set", `user.proxy=${value}`], {
      env: { ...host.env, INCUS_SOCKET: proxy.socketPath },
      stdin: "ignore",
      timeout: 20_000,
    });
  const daemonSays = (value: string) => host.incus("config", "set", `user.proxy=${value}`);
  const current = () => host.incus("config", "get", "user.proxy");

  test("passes requests on, counts them and tunnels websockets", async () => {
    const before = proxy.writes().length;
    await change("passed");
    expect(await current()).toBe("passed");
    expect(proxy.writes().slice(before)).toEqual([{ method: "PUT", path: "/1.0" }]);
    expect(proxy.requests.length).toBeGreaterThan(1);
    const record = await recordEvents({ socketPath: proxy.socketPath });
    await change("watched");
    await record.stop();
    expect(record.lifecycle()).toEqual(["config-updated /1.0"]);
  });

  test("cut before: not done; cut after: done, and the client does not know", async () => {
    await daemonSays("watched");
    const before = proxy.failNext(/^PUT \/1\.0/, "cut-before");
    await expect(change("before")).rejects.toThrow();
    expect(await before.struck).toEqual({ method: "PUT", path: "/1.0" });
    expect(await current()).toBe("watched");
    proxy.failNext(/^PUT \/1\.0/, "cut-after");
    await expect(change("after")).rejects.toThrow();
    expect(await current()).toBe("after");
  });

  test("an answer breaks off in its body, at the second request only", async () => {
    proxy.failNext(/^GET \/1\.0$/, { cutBodyAfter: 20 }, 2);
    expect(JSON.parse(await ask("/1.0"))).toMatchObject({ status: "Success" });
    await expect(ask("/1.0")).rejects.toThrow("aborted");
    expect(JSON.parse(await ask("/1.0"))).toMatchObject({ status: "Success" });
  });

  test("a stalled request never answers until the connections are cut", async () => {
    const { struck } = proxy.failNext(/^GET \/1\.0\/stalled$/, "stall");
    const stalled = ask("/1.0/stalled");
    const failed = expect(stalled).rejects.toThrow("socket hang up");
    await struck;
    proxy.cutAll();
    await failed;
  });

  test("the daemon can be killed at one request", async () => {
    proxy.onNext(/^PUT \/1\.0/, "after", () => host.kill());
    await change("killed");
    expect(host.pid).toBeUndefined();
    await host.start();
    expect(await current()).toBe("killed");
  });
});

async function containerPid(host: IncusDaemon, name: string): Promise<number> {
  return (await host.query<{ pid: number }>(`/1.0/instances/${name}/state`)).pid;
}

async function expectNothingLeft(name: string): Promise<void> {
  const paths = daemonPaths(name);
  expect(await daemonProcesses(paths.dir, paths.netnsFile)).toEqual([]);
  for (const dir of [paths.dir, paths.dataDir]) {
    expect(await mountsBelow(dir)).toEqual([]);
    expect(await loopsBelow(dir)).toEqual([]);
  }
  expect(await linksWithAlias(paths.netns)).toEqual([]);
  for (const path of [paths.dir, paths.dataDir, paths.runDir, paths.netnsFile])
    expect(existsSync(path)).toBe(false);
}

/** The body of one answer. */
function answer(
  ask: (done: (response: NodeJS.ReadableStream) => void) => NodeJS.EventEmitter,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = ask((response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString("utf8");
      });
      response.on("end", () => resolve(text));
      response.on("error", reject);
    });
    request.on("error", reject);
  });
}
