import { mkdtemp, open, readFile, rename, rm, statfs, writeFile } from "node:fs/promises";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { HostHealth } from "../../infra/health/examine.ts";
import type { Finding } from "../../infra/health/finding.ts";
import { IncusClient } from "../../providers/incus/client.ts";
import { park } from "../../providers/parking/parked.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { ext4Mount } from "../testbed/disks.ts";
import { recordEvents } from "../testbed/events.ts";
import { importImage } from "../testbed/images.ts";
import { SSH_HOST, type SshServer, startSshd } from "../testbed/sshd.ts";
import { trustNewClient } from "../testbed/trust.ts";

const COMMAND = join(import.meta.dirname, "..", "..", "infra", "commands", "doctor-command.ts");
const SECRET = "not-to-be-seen-3141";
const MiB = 1024 ** 2;
/** What depends on the machine that the tests run on, not on what they make. */
const OF_THE_MACHINE = ["incus-hole", "limits", "kernel", "memory-cgroup"];

let d: IncusDaemon;
let directory: string;
let sshd: SshServer | undefined;

interface Run {
  exitCode?: number | undefined;
  stdout: string;
  stderr: string;
}

/** Runs the command as npm does. The JSON form of YAML is YAML too. */
async function doctor(host: object, flags: string[], env: Record<string, string> = {}): Promise<Run> {
  const file = join(directory, "Pulumi.test.yaml");
  const connection = `unix:${d.socketPath}`;
  await writeFile(
    file,
    JSON.stringify({ config: { "taos-hosts:hosts": { board: { connection, ...host } } } }),
  );
  return execa("node", [COMMAND, "--config-file", file, "--stack", "test", ...flags], {
    ...{ reject: false, stdin: "ignore", timeout: 50_000, env },
  });
}

/** The health of the host, and what this test has made of it: findings without those of the machine. */
async function examined(
  host: object = {},
  env: Record<string, string> = {},
): Promise<{ exitCode: number | undefined; health: HostHealth; made: Finding[] }> {
  const { exitCode, stdout, stderr } = await doctor(host, ["--json"], env);
  expect(stderr).toBe("");
  const { stack, hosts } = JSON.parse(stdout) as { stack: string; hosts: HostHealth[] };
  expect(stack).toBe("test");
  const [health, ...others] = hosts;
  if (!health || others.length > 0) throw new Error(`not one host: ${stdout}`);
  return {
    exitCode,
    health,
    made: health.findings.filter(({ rule }) => !OF_THE_MACHINE.includes(rule)),
  };
}

const pathOf = (pool: string): string => join(d.dir, "storage-pools", pool);
const imageOf = (pool: string): string => join(d.dir, "disks", `${pool}.img`);
const run = (file: string, ...args: string[]) => execa(file, args, { stdin: "ignore", timeout: 60_000 });
const makePool = (name: string) => d.incus("storage", "create", name, "btrfs", "size=512MiB");

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "taos-hosts-doctor-"));
  d = await startDaemon({ name: "doctor", https: true });
  // The loop files on a disk of their own, which a test can fill.
  const disk = await ext4Mount(d, 4096 * MiB);
  await run("mount", "--bind", disk.path, join(d.dir, "disks"));
  await d.incus("storage", "create", "default", "btrfs", "size=1GiB");
  await d.incus("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default");
  await importImage(d, "bb");
  await d.incus("create", "bb", "naira", "-c", `environment.TOKEN=${SECRET}`);
});

afterAll(async () => {
  await sshd?.stop();
  await d?.remove();
  await rm(directory, { recursive: true, force: true });
});

describe("a healthy host", () => {
  it("is called so, and nothing is written", async () => {
    const record = await recordEvents(d);
    const { exitCode, health, made } = await examined();
    expect(await record.stop()).toEqual([]);
    expect(made).toEqual([]);
    expect(health.notLookedAt).toEqual([]);
    const server = await d.query<{ environment: { server_version: string } }>("/1.0");
    expect(health).toMatchObject({
      ...{ host: "board", unreachable: null, clockAhead: 0 },
      ...{ incus: server.environment.server_version, kernel: release() },
    });
    // The package, limits and kernel of this machine may be worth a warning.
    const warned = health.findings.some(({ severity }) => severity === "warning");
    expect([exitCode, health.state]).toEqual(warned ? [2, "warnings"] : [0, "healthy"]);
  });

  it("is told in words, without secrets", async () => {
    const { stdout } = await doctor({ agents: { iris: { image: "bb", environment: { A: SECRET } } } }, []);
    expect(stdout).toMatch(/^board: (healthy|\d warning)/);
    expect(stdout).not.toContain(SECRET);
    expect((await doctor({}, ["--json"])).stdout).not.toContain(SECRET);
  });

  it("over ssh shows the same as on the host itself", async () => {
    sshd = await startSshd(d);
    const env = { PATH: `${sshd.bin}:${process.env["PATH"] ?? ""}` };
    const far = await examined({ connection: `ssh://${SSH_HOST}${d.socketPath}` }, env);
    const near = await examined();
    expect(far.health.notLookedAt).toEqual([]);
    expect({ ...far.health, clockAhead: 0 }).toEqual({ ...near.health, clockAhead: 0 });
  });

  it("over https is not called healthy: what nobody could look at is named", async () => {
    const { certificateFile, keyFile, serverCertificateFile } = await trustNewClient(d);
    const tls = { certificateFile, keyFile, serverCertificateFile };
    const { exitCode, health } = await examined({ connection: d.url, tls });
    expect([exitCode, health.state, health.findings]).toEqual([0, "partly-seen", []]);
    const objects = health.notLookedAt.map(({ object }) => object.replace(/:? CVE.*/, ""));
    const unseen = ["metadata, device errors and scrub", "space under its loop file"];
    expect(objects).toEqual(
      expect.arrayContaining([
        ...unseen.map((what) => `pool default: ${what}`),
        "memory cgroup",
        "kernel limits",
      ]),
    );
    for (const { why } of health.notLookedAt) expect(why).toContain("does not reach the host's files");
    const { stdout } = await doctor({ connection: d.url, tls }, []);
    expect(stdout).toContain("board: nothing found in what was looked at");
    expect(stdout).not.toContain("healthy");
  });
});

describe("a host that is not reached", () => {
  it("ends with 1 and says why", async () => {
    const { exitCode, health } = await examined({ connection: "unix:/nowhere/unix.socket" });
    expect([exitCode, health.state]).toEqual([1, "unreachable"]);
    expect(health.unreachable).toContain("Is Incus installed and running there?");
  });

  it("ends with 1 where the config is wrong, by its path", async () => {
    const { exitCode, stdout, stderr } = await doctor({ agents: { iris: { imag: SECRET } } }, ["--json"]);
    expect([exitCode, stdout]).toEqual([1, ""]);
    expect(stderr).toContain("hosts.board.agents.iris.imag: unknown key");
    expect(stderr).not.toContain(SECRET);
  });
});

describe("a pool", () => {
  afterEach(async () => {
    const pools = (await d.incus("storage", "list", "--format", "csv", "--columns", "n")).trim().split("\n");
    for (const pool of pools) if (pool !== "default") await d.incus("storage", "delete", pool);
  });

  it("that is nearly full", async () => {
    await makePool("full");
    const file = join(pathOf("full"), "ballast");
    await run("fallocate", "--length", "430MiB", file);
    const { bavail, blocks } = await statfs(pathOf("full"));
    expect(bavail / blocks).toBeLessThan(0.15);
    const { exitCode, made } = await examined();
    expect(exitCode).not.toBe(0);
    expect(made).toMatchObject([{ rule: "pool-full", object: "pool full" }]);
    expect(made[0]?.mend).toContain("incus storage set full size=1GiB");
    // What is said to mend it does.
    await d.incus("storage", "set", "full", "size=1GiB");
    expect((await examined()).made).toEqual([]);
  });

  it("without room for metadata, though df shows space", { timeout: 120_000 }, async () => {
    await makePool("inodes");
    const path = pathOf("inodes");
    // Every block group is data's, and half empty.
    const names = Array.from({ length: 200 }, (_, index) => join(path, `data-${index}`));
    for (const name of names) await run("fallocate", "--length", "2MiB", name).catch(() => undefined);
    await run("fallocate", "--length", "64MiB", join(path, "rest")).catch(() => undefined);
    await run("sync", "--file-system", path);
    for (const [index, name] of names.entries()) if (index % 2 === 0) await rm(name, { force: true });
    await run("sync", "--file-system", path);
    const code = await fillWithSmallFiles(path);
    expect(code).toBe("ENOSPC");
    const { bavail, bsize } = await statfs(path);
    expect(bavail * bsize).toBeGreaterThan(50 * MiB);
    const { exitCode, made } = await examined();
    expect(exitCode).toBe(1);
    expect(made).toMatchObject([{ severity: "error", rule: "btrfs-metadata", object: "pool inodes" }]);
    expect(made[0]?.mend).toContain("incus storage set inodes size=1GiB");
    await d.incus("storage", "set", "inodes", "size=1GiB");
    expect((await examined()).made).toEqual([]);
    await writeFile(join(path, "one-more"), "x");
  });

  it("whose disk gives other bytes than were written, and whose last scrub found it", async () => {
    await makePool("rotten");
    const path = pathOf("rotten");
    const block = Buffer.alloc(256 * 1024, "memory-of-mary-");
    await writeFile(join(path, "memory"), block);
    await run("sync", "--file-system", path);
    expect((await examined()).made).toEqual([]);
    await overwrite(imageOf("rotten"), block.subarray(0, 4096));
    const found = await execa("btrfs", ["scrub", "start", "-B", path], { reject: false, stdin: "ignore" });
    expect(found.exitCode).not.toBe(0);
    const { exitCode, made } = await examined();
    expect(exitCode).toBe(1);
    expect(made).toMatchObject([
      { severity: "error", rule: "btrfs-errors", object: "pool rotten" },
      { severity: "error", rule: "btrfs-scrub", object: "pool rotten" },
    ]);
    const { stdout } = await run("btrfs", "device", "stats", path);
    const count = /corruption_errs\s+(\d+)/.exec(stdout)?.[1];
    expect(Number(count)).toBeGreaterThan(0);
    expect(made[0]?.what).toContain(`corruption_errs ${count} on /dev/loop`);
    // The way out that it names.
    await rm(join(path, "memory"));
    await run("sync", "--file-system", path);
    await run("btrfs", "device", "stats", "--reset", path);
    await run("btrfs", "scrub", "start", "-B", path);
    expect((await examined()).made).toEqual([]);
  });

  it("that was last scrubbed long ago", async () => {
    await makePool("dusty");
    const path = pathOf("dusty");
    await run("btrfs", "scrub", "start", "-B", path);
    const { stdout: uuid } = await run("findmnt", "--noheadings", "--output", "UUID", path);
    const status = `/var/lib/btrfs/scrub.status.${uuid.trim().split("\n")[0]}`;
    const past = Math.floor(Date.now() / 1000) - 100 * 86_400;
    await writeFile(status, (await readFile(status, "utf8")).replace(/t_start:\d+/, `t_start:${past}`));
    const { made } = await examined();
    expect(made).toEqual([
      {
        ...{ severity: "warning", rule: "btrfs-scrub", object: "pool dusty" },
        ...{ what: "its last scrub was 100 days ago", mend: `sudo btrfs scrub start -B ${path}` },
      },
    ]);
    await rm(status);
  });

  it("whose loop file may take more than the host has", async () => {
    const before = await examined();
    const ballast = join(d.dir, "disks", "ballast");
    await run("fallocate", "--length", "3300MiB", ballast);
    const { exitCode, made } = await examined();
    await rm(ballast);
    expect(before.made).toEqual([]);
    expect(exitCode).toBe(1);
    expect(made).toMatchObject([{ severity: "error", rule: "loop-headroom", object: "pool default" }]);
  });

  it("that is unavailable", async () => {
    await makePool("gone");
    await d.stop();
    await run("umount", "--lazy", pathOf("gone"));
    await rename(imageOf("gone"), `${imageOf("gone")}.away`);
    await d.start();
    const { status } = await d.query<{ status: string }>("/1.0/storage-pools/gone");
    const { exitCode, made } = await examined();
    expect(exitCode).toBe(1);
    expect(made[0]).toMatchObject({ severity: "error", rule: "pool-status", object: "pool gone" });
    expect(made[0]?.what).toBe(`it is ${status}`);
    await d.stop();
    await rename(`${imageOf("gone")}.away`, imageOf("gone"));
    await d.start();
    expect((await examined()).made).toEqual([]);
  });
});

describe("what was parked", () => {
  const owner = "test/test/board/naira";

  it("is named with size and age, as the only copy while it is that", async () => {
    const client = new IncusClient({ name: "board", connection: `unix:${d.socketPath}` });
    const ref = { project: "default", name: "naira" };
    const { parkedName } = await park(client, ref, { owner }, () => undefined);
    await client.close();
    const alone = await examined();
    expect(alone.made).toMatchObject([{ severity: "warning", rule: "parked" }]);
    expect(alone.made[0]?.mend).toContain(`incus rename ${parkedName} naira`);

    await d.incus("create", "bb", "naira", "-c", `user.taos.owner=${owner}`);
    const { made } = await examined();
    const { stdout } = await run("du", "-s", "-B1", "-x", join(d.rootfs("default", parkedName), ".."));
    const size = (Number(stdout.split("\t")[0]) / MiB).toFixed(1);
    expect(made).toEqual([
      {
        ...{ severity: "note", rule: "parked", object: `container ${parkedName}` },
        what: `parked 0 days ago for naira (replaced), ${size} MiB on pool default`,
        mend: "Name naira under hosts.board.optIn.removeParked, then npm run up",
      },
    ]);

    const record = await d.incus("config", "get", parkedName, "user.taos.parked");
    const at = new Date(Date.now() - 45 * 86_400_000).toISOString();
    await d.incus(
      "config",
      "set",
      parkedName,
      `user.taos.parked=${JSON.stringify({ ...JSON.parse(record), at })}`,
    );
    const old = await examined();
    expect(old.exitCode).toBe(2);
    expect(old.made).toMatchObject([{ severity: "warning", rule: "parked" }]);
    expect(old.made[0]?.what).toContain("parked 45 days ago for naira");
    await d.incus("delete", parkedName);
    expect((await examined()).made).toEqual([]);
  });
});

describe("a clock", () => {
  it("that is an hour behind ours", async () => {
    const now = "const now = Date.now; Date.now = () => now() + 3_600_000;";
    const { exitCode, made } = await examined(
      {},
      { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(now)}` },
    );
    expect(exitCode).toBe(1);
    expect(made).toMatchObject([{ severity: "error", rule: "clock" }]);
    expect(made[0]?.what).toMatch(/^it is 3(599|600|601) s behind the one here$/);
  });
});

/** Writes files that are kept in metadata until there is no space. @returns the code of the error */
async function fillWithSmallFiles(path: string): Promise<unknown> {
  const text = "x".repeat(2000);
  for (let index = 0; index < 100_000; index += 100) {
    const batch = Array.from({ length: 100 }, (_, n) => writeFile(join(path, `small-${index + n}`), text));
    const failed = (await Promise.allSettled(batch)).find(({ status }) => status === "rejected");
    if (failed?.status === "rejected") return failed.reason.code;
    if (index % 2000 === 0) await execa("sync", ["--file-system", path], { reject: false, stdin: "ignore" });
  }
  return undefined;
}

/** Overwrites the first place in a file where the bytes are. */
async function overwrite(file: string, bytes: Buffer): Promise<void> {
  const position = (await readFile(file)).indexOf(bytes);
  expect(position).toBeGreaterThan(0);
  const handle = await open(file, "r+");
  await handle.write(Buffer.alloc(bytes.length, "rot"), 0, bytes.length, position);
  await handle.sync();
  await handle.close();
}
