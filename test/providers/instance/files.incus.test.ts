import { randomBytes } from "node:crypto";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { agentFiles } from "../../../infra/config/agent-args.ts";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { startProxy } from "../../testbed/faulty-proxy.ts";
import { setUpHost } from "../../testbed/host-setup.ts";
import { importImage } from "../../testbed/images.ts";
import { TestResource } from "../resource.ts";

const WANTED = { name: "iris", image: "taos-base", pool: "default", protected: false };

describe("files of an agent", () => {
  let d: IncusDaemon;
  beforeAll(async () => {
    d = await startDaemon({ name: "instance-files" });
    await setUpHost(d, { driver: "dir" });
    await importImage(d, "taos-base");
  });
  afterAll(() => d?.remove());
  afterEach(async () => {
    await d.incus("delete", "--force", "iris").catch(() => undefined);
  });

  const inside = (path: string): string => join(d.rootfs("default", "iris"), path);
  /** `mode uid gid` as the container sees them. */
  const shown = async (path: string): Promise<string> =>
    (await d.incus("exec", "iris", "--", "stat", "-c", "%a %u %g", path)).trim();

  test("arrive byte by byte, whatever they hold, and stay as they are", async () => {
    const bytes = randomBytes(4096);
    const text = "ünïcode\n\0with a zero";
    await writeFile(join(d.dataDir, "bytes"), bytes);
    await writeFile(join(d.dataDir, "text"), text);
    await writeFile(join(d.dataDir, "mark"), Buffer.from([0xef, 0xbb, 0xbf, 0x61]));
    const entry = (name: string) => ({
      path: `/srv/${name}`,
      source: join(d.dataDir, name),
      uid: 0,
      gid: 0,
      mode: "0644",
    });
    const files = agentFiles(["bytes", "text", "mark"].map(entry));
    const iris = new TestResource(d, "Instance", "iris");
    await iris.up({ ...WANTED, files });
    expect(await readFile(inside("srv/bytes"))).toEqual(bytes);
    expect(await readFile(inside("srv/text"), "utf8")).toBe(text);
    expect(await readFile(inside("srv/mark"))).toEqual(Buffer.from([0xef, 0xbb, 0xbf, 0x61]));
    expect(await iris.up({ ...WANTED, files })).toBe("same");
    const other = randomBytes(4096);
    await writeFile(join(d.dataDir, "bytes"), other);
    expect(await iris.up({ ...WANTED, files: agentFiles(["bytes", "text", "mark"].map(entry)) })).toBe(
      "update",
    );
    expect(await readFile(inside("srv/bytes"))).toEqual(other);
  });

  test("of the image or of an earlier run get the mode and the owner that the config says", async () => {
    const iris = new TestResource(d, "Instance", "iris");
    // In the image it is 0644 root, as the second reader says before anything is written.
    const first = [
      { path: "/etc/passwd", content: "root:x:0:0::/root:/bin/sh\n", mode: "0600", uid: 0, gid: 0 },
      { path: "/srv/notes", content: "one" },
    ];
    await iris.up({ ...WANTED, files: first });
    expect(await shown("/etc/passwd")).toBe("600 0 0");
    expect(await shown("/srv/notes")).toBe("644 0 0");
    const second = [first[0], { path: "/srv/notes", content: "one", mode: "0640", uid: 1000, gid: 100 }];
    expect(await iris.up({ ...WANTED, files: second })).toBe("update");
    expect(await shown("/srv/notes")).toBe("640 1000 100");
    expect(await iris.up({ ...WANTED, files: second })).toBe("same");
    // Changed by hand, then content alone changes: mode and owner are those of the config again.
    await d.incus("exec", "iris", "--", "chmod", "666", "/srv/notes");
    const third = [first[0], { path: "/srv/notes", content: "two", mode: "0640", uid: 1000, gid: 100 }];
    expect(await iris.up({ ...WANTED, files: third })).toBe("update");
    expect(await shown("/srv/notes")).toBe("640 1000 100");
    expect(await readFile(inside("srv/notes"), "utf8")).toBe("two");
  });

  test("with bits that Incus sets of no file are refused; all that it does set are", async () => {
    const iris = new TestResource(d, "Instance", "iris");
    const files = (modes: string[]) => modes.map((mode) => ({ path: `/srv/m${mode}`, content: "x", mode }));
    const modes = ["0755", "600", "0000", "0777"];
    await iris.up({ ...WANTED, files: files(modes) });
    // One after the other: of commands at once, Incus has lost the output of one.
    const seen: string[] = [];
    for (const mode of modes) seen.push(await shown(`/srv/m${mode}`));
    expect(seen).toEqual(["755 0 0", "600 0 0", "0 0 0", "777 0 0"]);
    for (const mode of ["4755", "2750", "1666", "04755"])
      await expect(iris.up({ ...WANTED, files: files([mode]) })).rejects.toThrow(/mode.*beyond 0777/s);
  });

  test("arrive although Incus has no file server for a moment, which it starts for each instance", async () => {
    const proxy = await startProxy(d);
    const error = "dial unix /proc/self/fd/52/forkfile.sock: connect: no such file or directory";
    const host = { name: "orange", connection: `unix:${proxy.socketPath}` };
    try {
      const iris = new TestResource(d, "Instance", "iris");
      const { struck } = proxy.failNext(/^POST .*\/files/, { status: 500, error });
      await iris.up({ ...WANTED, host, files: [{ path: "/srv/token", content: "x", mode: "0600" }] });
      await struck;
    } finally {
      await proxy.close();
    }
    expect(await shown("/srv/token")).toBe("600 0 0");
  });

  test("behind a link are written where it leads; a directory in the way is refused", async () => {
    const iris = new TestResource(d, "Instance", "iris");
    await iris.up(WANTED);
    await d.incus(
      "exec",
      "iris",
      "--",
      "sh",
      "-c",
      "mkdir -p /data /srv/dir; echo old >/data/real; chmod 666 /data/real; ln -s ../data/real /srv/link",
    );
    const files = [{ path: "/srv/link", content: "new", mode: "0600" }];
    await iris.up({ ...WANTED, files });
    expect(await readFile(inside("data/real"), "utf8")).toBe("new");
    expect(await shown("/data/real")).toBe("600 0 0");
    expect((await d.incus("exec", "iris", "--", "readlink", "/srv/link")).trim()).toBe("../data/real");
    await expect(iris.up({ ...WANTED, files: [{ path: "/srv/dir", content: "x" }] })).rejects.toThrow(
      /"\/srv\/dir" into "iris": a directory has that path/,
    );
  });

  test("that others may not read never lie under a wider mode while they are written", async () => {
    const proxy = await startProxy(d);
    const host = { name: "orange", connection: `unix:${proxy.socketPath}` };
    const iris = new TestResource(d, "Instance", "iris");
    await iris.up({ ...WANTED, host, files: [{ path: "/srv/secret", content: "", mode: "0644" }] });
    const files = [{ path: "/srv/secret", content: "s3cret", mode: "0600" }];
    const before = proxy.writes().length;
    await iris.up({ ...WANTED, host, files });
    const writes = proxy
      .writes()
      .slice(before)
      .filter(({ path }) => path.includes("/files?") && path.includes("secret"));
    // The wide one goes, an empty narrow one comes, and only that gets the content.
    expect(writes.map(({ method }) => method)).toEqual(["DELETE", "POST", "POST"]);
    expect((await stat(inside("srv/secret"))).mode & 0o777).toBe(0o600);
    await proxy.close();
  });

  test("written by a run of which Pulumi knows nothing are put right by the mark on the instance", async () => {
    const iris = new TestResource(d, "Instance", "iris");
    await iris.up({ ...WANTED, files: [{ path: "/srv/notes", content: "one" }] });
    const mark = await d.incus("config", "get", "iris", "user.taos.files");
    expect(mark).toMatch(/^\{"\/srv\/notes":"[0-9a-f]{16}"\}\s*$/);
    await d.incus("config", "set", "iris", 'user.taos.files={"/srv/notes":"0000000000000000"}');
    expect(await iris.refresh()).toBe(true);
    await d.incus("exec", "iris", "--", "sh", "-c", "echo other >/srv/notes");
    expect(await iris.up({ ...WANTED, files: [{ path: "/srv/notes", content: "one" }] })).toBe("update");
    expect(await readFile(inside("srv/notes"), "utf8")).toBe("one");
    // As 0.1 left it: no mark, and nothing to do.
    await d.incus("config", "unset", "iris", "user.taos.files");
    expect(await iris.refresh()).toBe(false);
  });
});
