import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { recordEvents } from "../../testbed/events.ts";
import { type FaultyProxy, startProxy } from "../../testbed/faulty-proxy.ts";
import { setUpHost } from "../../testbed/host-setup.ts";
import { importImage, testImage } from "../../testbed/images.ts";
import { TestResource } from "../resource.ts";

const OWNER = "p/s/orange/iris";
const WANTED = { name: "iris", image: "taos-base", pool: "default", protected: false };

type Live = {
  status: string;
  profiles: string[];
  config: Record<string, string>;
  devices: Record<string, Record<string, string>>;
};

describe("Instance", () => {
  let d: IncusDaemon;
  let iris: TestResource;
  beforeAll(async () => {
    d = await startDaemon({ name: "instance" });
    await setUpHost(d, { driver: "btrfs" });
    await importImage(d, "taos-base");
  });
  afterAll(() => d?.remove());
  beforeEach(() => {
    iris = new TestResource(d, "Instance", "iris");
  });
  afterEach(async () => {
    for (const name of await names()) await d.incus("delete", "--force", name);
  });

  const live = (): Promise<Live> => d.query("/1.0/instances/iris");
  const names = async (): Promise<string[]> =>
    (await d.query<{ name: string }[]>("/1.0/instances?recursion=1")).map(({ name }) => name);

  test("is made by one request, gets its files, is started once and is ready", async () => {
    const proxy = await startProxy(d);
    const record = await recordEvents(d);
    const rcLocal =
      "#!/bin/sh\n{ echo started; echo $TOKEN; cat /root/.openclaw/openclaw.json; } >>/starts\n";
    const args = {
      ...WANTED,
      host: { name: "orange", connection: `unix:${proxy.socketPath}` },
      memory: "256MiB",
      cpu: "1",
      disk: "1GiB",
      idmapUid: 1000,
      environment: { TOKEN: "s3cret" },
      config: { "boot.autostart": "true", "limits.processes": "500" },
      devices: { api: { type: "proxy", listen: "tcp:127.0.0.1:18080", connect: "tcp:127.0.0.1:80" } },
      files: [
        { path: "/root/.openclaw/openclaw.json", content: '{"agent":"iris"}', mode: "0600" },
        { path: "/srv/agent/notes", content: "", uid: 1000, gid: 1000, mode: "640" },
        { path: "/etc/rc.local", content: rcLocal, mode: "0755" },
      ],
    };
    expect(await iris.up(args)).toBe("create");
    const posts = proxy.writes().filter(({ method, path }) => method === "POST" && !path.includes("/files"));
    expect(posts.map(({ path }) => path)).toEqual(["/1.0/instances?project=default"]);
    await proxy.close();
    await record.stop();
    const actions = record.lifecycle().map((line) => line.split(" ")[0]);
    expect(actions.filter((action) => action === "instance-created")).toHaveLength(1);
    expect(actions.filter((action) => action === "instance-started")).toHaveLength(1);
    expect(actions.join(" ")).not.toMatch(/restarted|stopped|shutdown/);

    const { status, config, devices } = await live();
    expect(status).toBe("Running");
    expect(config).toMatchObject({
      "limits.memory": "256MiB",
      "limits.cpu": "1",
      "raw.idmap": "both 1000 0",
      "boot.autostart": "true",
      "limits.processes": "500",
      "environment.TOKEN": "s3cret",
      "user.taos.owner": OWNER,
    });
    expect(config).not.toHaveProperty("user.taos.stage");
    expect(devices["root"]).toEqual({ type: "disk", path: "/", pool: "default", size: "1GiB" });
    expect(devices["api"]).toEqual(args.devices.api);
    expect(iris.state).toMatchObject({ ipv4: await d.ipv4("iris"), isReady: true });

    const rootfs = d.rootfs("default", "iris");
    expect(await readFile(join(rootfs, "starts"), "utf8")).toBe('started\ns3cret\n{"agent":"iris"}');
    const fileMode = async (path: string): Promise<string> =>
      ((await stat(join(rootfs, path))).mode & 0o7777).toString(8);
    expect(await fileMode("root/.openclaw/openclaw.json")).toBe("600");
    expect(await fileMode("srv/agent/notes")).toBe("640");
    expect(await fileMode("srv/agent")).toBe("755");
    expect(await d.incus("exec", "iris", "--", "stat", "-c", "%u:%g", "/srv/agent/notes")).toBe("1000:1000");
  });

  test("is found unchanged, and what a user adds or changes beside it is no drift", async () => {
    await iris.up({ ...WANTED, memory: "256MiB" });
    await d.incus("config", "set", "iris", "user.theirs=kept", "limits.processes=300");
    await d.incus("config", "device", "add", "iris", "gpu", "none");
    expect(await iris.refresh()).toBe(false);
    expect(await iris.up({ ...WANTED, memory: "256MiB" })).toBe("same");
  });

  test("never gets less disk than it holds: every write in it would fail from then on", async () => {
    await iris.up({ ...WANTED, disk: "1GiB" });
    await d.incus("exec", "iris", "--", "dd", "if=/dev/urandom", "of=/memory", "bs=1M", "count=64");
    await d.incus("exec", "iris", "--", "sync");
    await expect(iris.up({ ...WANTED, disk: "64MiB" })).rejects.toThrow(
      /"iris": its root disk holds [6-8]\d(\.\d)? MiB and cannot be limited to 64\.0 MiB/,
    );
    expect((await live()).devices["root"]).toMatchObject({ size: "1GiB" });
    await d.incus("exec", "iris", "--", "cp", "/memory", "/more");
    await d.incus("config", "device", "set", "iris", "root", "size=2GiB");
    await iris.refresh();
    await expect(iris.up({ ...WANTED, disk: "128MiB" })).rejects.toThrow(/cannot be limited to 128 MiB/);
    await d.incus("exec", "iris", "--", "rm", "/more");
    expect(await iris.up({ ...WANTED, disk: "256MiB" })).toBe("update");
    expect((await live()).devices["root"]).toMatchObject({ size: "256MiB" });
  });

  describe("whose profiles call the root disk otherwise", () => {
    const roots = async (): Promise<string[]> =>
      Object.entries((await live()).devices).flatMap(([name, { type, path }]) =>
        type === "disk" && path === "/" ? [name] : [],
      );
    beforeAll(async () => {
      await d.incus("profile", "create", "bare");
      await d.incus("profile", "device", "add", "bare", "eth0", "nic", "network=incusbr0", "name=eth0");
      await d.incus("profile", "create", "big");
      await d.incus("profile", "device", "add", "big", "disk", "disk", "path=/", "pool=default", "size=2GiB");
    });
    afterAll(async () => {
      for (const name of ["bare", "big"]) await d.incus("profile", "delete", name);
    });

    test("has its own in that one's place, finds it unchanged, and changes its size there", async () => {
      const args = {
        ...WANTED,
        profiles: ["bare", "big"],
        disk: "1GiB",
        devices: { root: { "limits.read": "10MB" } },
      };
      expect(await iris.up(args)).toBe("create");
      const disk = { type: "disk", path: "/", pool: "default", "limits.read": "10MB" };
      expect((await live()).devices).toEqual({ disk: { ...disk, size: "1GiB" } });
      expect(await iris.refresh()).toBe(false);
      expect(await iris.up({ ...args, disk: "1536MiB" })).toBe("update");
      expect((await live()).devices).toEqual({ disk: { ...disk, size: "1536MiB" } });
      await d.incus("config", "device", "remove", "iris", "disk").catch(() => undefined);
      await iris.refresh();
      await iris.up({ ...args, disk: "1536MiB" });
      expect((await live()).devices).toEqual({ disk: { ...disk, size: "1536MiB" } });
    });

    test("keeps its data where a change of profiles changes the name", async () => {
      await iris.up(WANTED);
      await d.incusWithInput("months of memory", "file", "push", "-", "iris/root/notes");
      expect(await roots()).toEqual(["root"]);
      expect(await iris.up({ ...WANTED, profiles: ["bare", "big"] })).toBe("update");
      expect(await roots()).toEqual(["disk"]);
      expect(await iris.refresh()).toBe(false);
      expect(await iris.up(WANTED)).toBe("update");
      expect(await roots()).toEqual(["root"]);
      expect(await d.incus("file", "pull", "iris/root/notes", "-")).toBe("months of memory");
    });

    test.each([
      [["default", "big"], /give two root disks, root and disk, and Incus takes one/],
      [["nosuch"], /profile "nosuch" is not in project "default"/],
    ])("is refused with profiles %s, and nothing is made", async (profiles, words) => {
      await expect(iris.up({ ...WANTED, profiles })).rejects.toThrow(words);
      expect(await names()).toEqual([]);
    });
  });

  test("is mended where it drifted, with what a user added kept", async () => {
    const args = {
      ...WANTED,
      memory: "256MiB",
      environment: { TOKEN: "one" },
      devices: { data: { type: "none" } },
    };
    await iris.up(args);
    await d.incus(
      "config",
      "set",
      "iris",
      "limits.memory=128MiB",
      "environment.TOKEN=two",
      "user.theirs=kept",
    );
    await d.incus("config", "device", "remove", "iris", "data");
    await d.incus("config", "device", "add", "iris", "gpu", "none");
    expect(await iris.refresh()).toBe(true);
    expect(JSON.stringify(iris.state?.["drift"])).not.toMatch(/two/);
    expect(await iris.up(args)).toBe("update");
    const { config, devices } = await live();
    expect(config).toMatchObject({
      "limits.memory": "256MiB",
      "environment.TOKEN": "one",
      "user.theirs": "kept",
    });
    expect(devices).toMatchObject({ data: { type: "none" }, gpu: { type: "none" } });
    expect(await iris.refresh()).toBe(false);
  });

  test("takes new limits, environment, devices, disk and files in place, without a restart", async () => {
    const first = {
      ...WANTED,
      memory: "256MiB",
      disk: "500MiB",
      environment: { OLD: "1" },
      devices: { old: { type: "none" } },
    };
    await iris.up(first);
    const { config: before } = await live();
    const record = await recordEvents(d);
    const second = {
      ...WANTED,
      memory: "512MiB",
      cpu: "2",
      disk: "800MiB",
      environment: { NEW: "2" },
      devices: { fresh: { type: "none" } },
      files: [{ path: "/etc/agent/new", content: "new" }],
    };
    expect(await iris.up(second)).toBe("update");
    await record.stop();
    expect(record.lifecycle().join(" ")).not.toMatch(
      /instance-(restarted|stopped|shutdown|started|deleted|created)/,
    );
    const { config, devices } = await live();
    expect(config).toMatchObject({ "limits.memory": "512MiB", "limits.cpu": "2", "environment.NEW": "2" });
    expect(config).not.toHaveProperty("environment.OLD");
    expect(config["volatile.uuid"]).toBe(before["volatile.uuid"]);
    expect(devices).not.toHaveProperty("old");
    expect(devices["fresh"]).toEqual({ type: "none" });
    expect(devices["root"]?.["size"]).toBe("800MiB");
    expect(await d.incus("exec", "iris", "--", "cat", "/etc/agent/new")).toBe("new");
    expect(await iris.up(second)).toBe("same");
  });

  test("that was deleted by hand is made anew", async () => {
    await iris.up(WANTED);
    await d.incus("delete", "--force", "iris");
    expect(await iris.refresh()).toBe(true);
    expect(await iris.up(WANTED)).toBe("create");
    expect((await live()).status).toBe("Running");
  });

  test("is ready when its command succeeds", async () => {
    const files = [
      { path: "/etc/rc.local", content: "#!/bin/sh\nusleep 600000\ntouch /ready\n", mode: "0755" },
    ];
    await iris.up({ ...WANTED, files, ready: { command: ["test", "-e", "/ready"] } });
    expect(await d.incus("exec", "iris", "--", "test", "-e", "/ready")).toBe("");
  });

  test("that does not get ready is kept, not lost, and gone on with", async () => {
    const args = { ...WANTED, ready: { command: ["test", "-e", "/ready"] }, readyTimeout: 1_000 };
    await expect(iris.up(args)).rejects.toThrow(/"iris" does not pass "test" after 1 s.*keeps running/);
    expect(iris.state).toMatchObject({ isReady: false });
    const { config } = await live();
    expect(await iris.refresh()).toBe(true);
    await expect(iris.up(args)).rejects.toThrow(/does not pass/);
    await d.incus("exec", "iris", "--", "touch", "/ready");
    expect(await iris.up(args)).toBe("update");
    expect(iris.state).toMatchObject({ isReady: true });
    expect((await live()).config["volatile.uuid"]).toBe(config["volatile.uuid"]);
    expect(await iris.refresh()).toBe(false);
  });

  test("that ends while it is waited for says so at once", async () => {
    // Not before Incus calls it started: that would be a start that failed.
    const content = "#!/bin/sh\n(sleep 1; kill -TERM 1) &\n";
    const files = [{ path: "/etc/rc.local", content, mode: "0755" }];
    const args = { ...WANTED, files, ready: { command: ["false"] }, readyTimeout: 60_000 };
    await expect(iris.up(args)).rejects.toThrow(/"iris" stopped while it was waited for.*--show-log/);
  });

  test("whose raw.idmap the host does not allow is refused before it is made, with the line to add", async () => {
    await expect(iris.up({ ...WANTED, idmapUid: 4_711 })).rejects.toThrow(
      /Add the line root:4711:1 to \/etc\/subuid and restart Incus/,
    );
    expect(await names()).toEqual([]);
  });

  test("of an image that is not there is refused before it is made", async () => {
    await expect(iris.up({ ...WANTED, image: "nowhere" })).rejects.toThrow(
      /image "nowhere" is not on the host/,
    );
    expect(await names()).toEqual([]);
  });

  test("made by somebody else is refused with both ways out, and not touched", async () => {
    await d.incus("init", "taos-base", "iris");
    const record = await recordEvents(d);
    await expect(iris.up(WANTED)).rejects.toThrow(
      /"iris" is there already and was not made by this stack\. List it under containers.*another name/,
    );
    await d.incus("config", "set", "iris", "user.taos.owner=other/stack/orange/iris");
    await expect(iris.up(WANTED)).rejects.toThrow(/made by another stack/);
    await record.stop();
    expect(record.lifecycle()).toEqual(["instance-updated /1.0/instances/iris"]);
  });

  test("that somebody put in its place is neither mended nor deleted", async () => {
    await iris.up(WANTED);
    await d.incus("delete", "--force", "iris");
    await d.incus("init", "taos-base", "iris");
    expect(await iris.refresh()).toBe(true);
    await expect(iris.up(WANTED)).rejects.toThrow(/not made by this stack and is left alone/);
    await iris.destroy();
    expect(await names()).toEqual(["iris"]);
  });

  test("that is protected is not deleted; without protection it is", async () => {
    const args = { ...WANTED, protected: true };
    await iris.up(args);
    await expect(iris.destroy()).rejects.toThrow(
      /Refusing to delete instance "iris": it is protected\. Set protected: false/,
    );
    expect((await live()).status).toBe("Running");
    expect(await iris.up(WANTED)).toBe("update");
    await iris.destroy();
    expect(await names()).toEqual([]);
  });

  test("that is protected keeps its image until a replacement is opted in; without protection it is replaced", async () => {
    await d.incus("image", "import", (await testImage()).unifiedFile, "--alias", "other");
    await iris.up({ ...WANTED, protected: true });
    const { config } = await live();
    expect(await iris.up({ ...WANTED, image: "other", protected: true })).toBe("same");
    expect((await live()).config["volatile.uuid"]).toBe(config["volatile.uuid"]);
    await iris.up(WANTED);
    expect(await iris.up({ ...WANTED, image: "other" })).toBe("replace");
    expect((await live()).config["volatile.uuid"]).not.toBe(config["volatile.uuid"]);
    expect(await names()).toEqual(["iris"]);
  });

  describe("that a killed run left", () => {
    const unfinished = ["--config", `user.taos.owner=${OWNER}`, "--config", "user.taos.stage=new"];
    const args = { ...WANTED, files: [{ path: "/etc/agent", content: "complete" }] };

    test("before its first start is made anew, with all its files", async () => {
      await d.incus("init", "taos-base", "iris", ...unfinished);
      expect(await iris.up(args)).toBe("create");
      expect(await names()).toEqual(["iris"]);
      expect(await d.incus("exec", "iris", "--", "cat", "/etc/agent")).toBe("complete");
    });

    test("after its start is gone on with", async () => {
      await d.incus("launch", "taos-base", "iris", ...unfinished);
      const { config } = await live();
      expect(await iris.up(WANTED)).toBe("create");
      expect((await live()).config["volatile.uuid"]).toBe(config["volatile.uuid"]);
      expect((await live()).config).not.toHaveProperty("user.taos.stage");
      expect(await iris.refresh()).toBe(false);
    });

    test("ready, with nothing in Pulumi's state, is taken into it without a restart", async () => {
      await iris.up(args);
      iris.forget();
      const record = await recordEvents(d);
      expect(await iris.up(args)).toBe("create");
      await record.stop();
      expect(record.lifecycle()).toEqual([]);
    });
  });

  describe("over a connection that breaks", () => {
    let proxy: FaultyProxy;
    let args: Record<string, unknown>;
    beforeEach(async () => {
      proxy = await startProxy(d);
      const files = [{ path: "/etc/agent", content: "complete" }];
      args = { ...WANTED, files, host: { name: "orange", connection: `unix:${proxy.socketPath}` } };
    });
    afterEach(() => proxy.close());

    test.each([
      ["the request to make it, done but not answered", /^POST \/1\.0\/instances\?/, "cut-after"],
      ["the push of its files", /^POST .*\/files\?/, "cut-before"],
      ["its start, done but not answered", /^PUT .*\/state/, "cut-after"],
    ] as const)("at %s: it is not made twice and lacks nothing", async (_what, request, fault) => {
      proxy.failNext(request, fault);
      await expect(iris.up(args)).rejects.toThrow(/Host "orange" cannot be reached/);
      await iris.up(args);
      expect(await names()).toEqual(["iris"]);
      expect(await d.incus("exec", "iris", "--", "cat", "/etc/agent")).toBe("complete");
      expect((await live()).config).not.toHaveProperty("user.taos.stage");
      expect(await iris.refresh()).toBe(false);
      expect(await iris.up(args)).toBe("same");
    });
  });
});
