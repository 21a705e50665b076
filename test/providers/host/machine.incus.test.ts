import { chmod, mkdir, mkdtemp, readFile, readlink, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { localMachine } from "../../../providers/host/local-machine.ts";
import type { HostMachine } from "../../../providers/host/machine.ts";
import { openSshMachine } from "../../../providers/host/ssh-machine.ts";
import { SshConnection } from "../../../providers/incus/ssh.ts";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { SSH_HOST, type SshServer, startSshd } from "../../testbed/sshd.ts";

let d: IncusDaemon;
let sshd: SshServer;
let ssh: SshConnection;
let directory: string;
const path = process.env["PATH"] ?? "";

beforeAll(async () => {
  d = await startDaemon({ name: "machine" });
  sshd = await startSshd(d);
  process.env["PATH"] = `${sshd.bin}:${path}`;
  ssh = new SshConnection({ kind: "ssh", destination: SSH_HOST, port: undefined, socketPath: d.socketPath });
});
afterAll(async () => {
  process.env["PATH"] = path;
  await ssh?.close();
  await sshd?.stop();
  await d?.remove();
});
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "taos machine's "));
  await writeFile(at("file"), "content\n");
  await mkdir(at("full/deep"), { recursive: true });
  await writeFile(at("full/a\nname"), "");
  await mkdir(at("empty"));
  await symlink(at("file"), at("link"));
  await symlink(at("nowhere"), at("dangling"));
  return () => rm(directory, { recursive: true, force: true });
});

const at = (name: string): string => join(directory, name);

const MACHINES: Record<string, () => Promise<HostMachine>> = {
  "this machine": async () => localMachine,
  "one over ssh": async () => {
    const machine = await openSshMachine(ssh);
    if (!machine) throw new Error("no root over ssh");
    return machine;
  },
};

describe.each(Object.keys(MACHINES))("%s", (name) => {
  let machine: HostMachine;
  beforeEach(async () => {
    machine = await (MACHINES[name] ?? (async () => localMachine))();
  });

  it("lists directories, says that an absent one is empty, and of a file never that it is", async () => {
    expect((await machine.list(at("full"))).sort()).toEqual(["a\nname", "deep"]);
    expect(await machine.list(at("empty"))).toEqual([]);
    expect(await machine.list(at("absent"))).toEqual([]);
    await expect(machine.list(at("file"))).rejects.toThrow();
    await expect(machine.list(at("link"))).rejects.toThrow();
  });

  it("reads files and links", async () => {
    expect(await machine.read(at("file"))).toBe("content\n");
    expect(await machine.read(at("absent"))).toBeUndefined();
    expect(await machine.linkTarget(at("link"))).toBe(at("file"));
    expect(await machine.linkTarget(at("file"))).toBeUndefined();
    expect(await machine.linkTarget(at("absent"))).toBeUndefined();
    const seen = await Promise.all(
      ["file", "link", "empty", "dangling", "absent"].map((one) => machine.exists(at(one))),
    );
    expect(seen).toEqual([true, true, true, false, false]);
  });

  it("tells a file's identity, and the space beside it", async () => {
    const { ino, size } = await stat(at("file"));
    expect(await machine.identify(at("link"))).toMatchObject({
      isFile: true,
      bytes: size,
      inode: String(ino),
    });
    expect((await machine.identify(at("empty"))).isFile).toBe(false);
    expect((await machine.identify(at("file"))).device).toBe(
      (await localMachine.identify(at("file"))).device,
    );
    await expect(machine.identify(at("absent"))).rejects.toThrow();
    expect(await machine.freeBytes(directory)).toBeGreaterThan(0);
  });

  it("finds programs", async () => {
    await writeFile(at("program"), "#!/bin/sh\n");
    await chmod(at("program"), 0o755);
    await symlink(at("program"), at("other"));
    const paths = ["file", "absent", "program", "other"].map(at);
    expect(await machine.executables(paths)).toEqual([at("program"), at("other")]);
  });

  it("removes, renames and links", async () => {
    await machine.rename(at("full"), at("moved"));
    expect(await readFile(at("moved/a\nname"), "utf8")).toBe("");
    await machine.symlink("some where", at("new"));
    expect(await readlink(at("new"))).toBe("some where");
    for (const one of ["link", "dangling", "moved", "absent"]) await machine.remove(at(one));
    expect(await readFile(at("file"), "utf8")).toBe("content\n");
    expect((await localMachine.list(directory)).sort()).toEqual(["empty", "file", "new"]);
  });

  it("runs programs with arguments as they are, input, exit code and a deadline", async () => {
    const options = { timeout: 10_000 };
    const odd = ["it's", '$(id) "x"', "", "two  words", "a\nb"];
    const echoed = await machine.run(["printf", "%s|", ...odd], options);
    expect(echoed.stdout.toString()).toBe(odd.map((one) => `${one}|`).join(""));
    const copied = await machine.run(["cat"], { ...options, input: Buffer.from([0, 255, 10]) });
    expect([...copied.stdout]).toEqual([0, 255, 10]);
    expect(await machine.run(["sh", "-c", "echo no >&2; exit 3"], options)).toMatchObject({
      exitCode: 3,
      stderr: "no\n",
    });
    expect((await machine.run(["no-such-program"], options)).exitCode).toBe(127);
    expect((await machine.run(["sleep", "20"], { timeout: 300 })).timedOut).toBe(true);
    const { stdout } = await machine.run(["sh", "-c", "echo $LC_ALL"], options);
    expect(stdout.toString()).toBe("C\n");
  });
});
