import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { guardedMachine, type WriteGuard } from "../../../providers/host/guarded-machine.ts";
import { localMachine } from "../../../providers/host/local-machine.ts";
import type { HostMachine } from "../../../providers/host/machine.ts";
import { openSshMachine } from "../../../providers/host/ssh-machine.ts";
import { ending, watched } from "../../../providers/host/watchdog.ts";
import { SshConnection } from "../../../providers/incus/ssh.ts";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { until } from "../../testbed/deadline.ts";
import { createUser, type PlainUser } from "../../testbed/plain-user.ts";
import { SSH_HOST, type SshServer, startSshd } from "../../testbed/sshd.ts";

let d: IncusDaemon;
let sshd: SshServer;
let admin: PlainUser;
const ADMIN = "taos-watchdog";
let directory: string;
const connections: SshConnection[] = [];
const path = process.env["PATH"] ?? "";

beforeAll(async () => {
  d = await startDaemon({ name: "watchdog" });
  sshd = await startSshd(d);
  admin = await createUser(ADMIN);
  await admin.setSudo(`${ADMIN} ALL=(ALL:ALL) NOPASSWD: ALL`);
  process.env["PATH"] = `${sshd.bin}:${path}`;
});
afterAll(async () => {
  process.env["PATH"] = path;
  await sshd?.stop();
  await admin?.remove();
  await d?.remove();
});
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "taos-writer "));
});
afterEach(async () => {
  for (const one of connections.splice(0)) await one.close();
  expect(await writers()).toEqual([]);
  await rm(directory, { recursive: true, force: true });
});

const CONTAINER = "0b1c2d3e-aaaa-bbbb-cccc-1234567890ab";
const OTHER = "ffffffff-aaaa-bbbb-cccc-1234567890ab";
const guard: WriteGuard = { id: `${CONTAINER}.this-run`, prove: async () => undefined };
const OPTIONS = { timeout: 60_000, writes: true };
/** Writes its own process id, and a line every 100 ms, from a child of its own. */
const WRITER = 'echo $$ >"$1/pid"; (while :; do date >>"$1/written"; sleep 0.1; done) & wait';

/** Processes of writers on this machine, as its own list of processes has them. */
async function writersOf(container: string): Promise<string[]> {
  const look = ["-c", 'grep -lsaz "^TAOS_WRITER=$1" /proc/[0-9]*/environ; true', "sh", container];
  return (await execa("sh", look)).stdout.split("\n").filter(Boolean);
}

async function writers(): Promise<string[]> {
  return [...(await writersOf(CONTAINER)), ...(await writersOf(OTHER))];
}

async function over(user: string): Promise<HostMachine> {
  const destination = `${user}@${SSH_HOST}`;
  const ssh = new SshConnection({ kind: "ssh", destination, port: undefined, socketPath: d.socketPath });
  connections.push(ssh);
  const machine = await openSshMachine(ssh);
  if (!machine) throw new Error(`no root over ssh as ${user}`);
  return machine;
}

const MACHINES: Record<string, () => Promise<HostMachine>> = {
  "this machine": async () => localMachine,
  "one over ssh, as root": () => over("root"),
  "one over ssh, by sudo": () => over(ADMIN),
};

const startsWriting = (): Promise<string> =>
  until(() => readFile(join(directory, "written"), "utf8").catch(() => undefined), { what: "the writer" });

describe.each(Object.keys(MACHINES))("a writer on %s", (name) => {
  let machine: HostMachine;
  beforeEach(async () => {
    machine = await (MACHINES[name] ?? (async () => localMachine))();
  });

  it("gets arguments and input as they are, and its output, errors and exit code come back", async () => {
    const guarded = guardedMachine(machine, guard);
    const odd = ["it's", '$(id) "x"', "", "two  words", "a\nb"];
    const echoed = await guarded.run(["printf", "%s|", ...odd], OPTIONS);
    expect(echoed.stdout.toString()).toBe(odd.map((one) => `${one}|`).join(""));
    const input = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 256));
    const copied = await guarded.run(["cat"], { ...OPTIONS, input });
    expect(copied.stdout.equals(input)).toBe(true);
    const failed = await guarded.run(["sh", "-c", "echo no >&2; exit 23"], OPTIONS);
    expect(failed).toMatchObject({ exitCode: 23, stderr: "no\n", timedOut: false });
    expect((await guarded.run(["no-such-program"], OPTIONS)).exitCode).toBe(127);
    const late = await guarded.run(["sh", "-c", WRITER, "sh", directory], { ...OPTIONS, timeout: 1_000 });
    expect(late.timedOut).toBe(true);
  });

  it("changes files", async () => {
    const guarded = guardedMachine(machine, guard);
    await guarded.symlink("some where", join(directory, "link"));
    await guarded.rename(join(directory, "link"), join(directory, "moved"));
    expect(await machine.linkTarget(join(directory, "moved"))).toBe("some where");
    await guarded.remove(join(directory, "moved"));
    expect(await machine.list(directory)).toEqual([]);
    await expect(guarded.rename(join(directory, "absent"), directory)).rejects.toThrow(/^mv on the host/);
  });

  it("does not begin where the right to write is lost", async () => {
    const lost = { ...guard, prove: () => Promise.reject(new Error("lost")) };
    const guarded = guardedMachine(machine, lost);
    await expect(guarded.run(["sh", "-c", WRITER, "sh", directory], OPTIONS)).rejects.toThrow("lost");
    await expect(guarded.remove(directory)).rejects.toThrow("lost");
    expect(await machine.list(directory)).toEqual([]);
  });

  it("is ended with its children by another run, also while it waits for the word to begin", async () => {
    const proved = Promise.withResolvers<void>();
    const waiting = guardedMachine(machine, { ...guard, prove: () => proved.promise });
    const later = waiting.run(["sh", "-c", WRITER, "sh", directory], OPTIONS);
    await until(async () => (await writers()).length > 0, { what: "the watchdog" });
    const writing = guardedMachine(machine, guard).run(["sh", "-c", WRITER, "sh", directory], OPTIONS);
    await startsWriting();
    const other = guardedMachine(machine, { ...guard, id: `${OTHER}.run` });
    const untouched = other.run(["sleep", "3"], OPTIONS);
    await until(async () => (await writersOf(OTHER)).length > 2, { what: "a writer of another container" });
    expect((await machine.run(ending(`${CONTAINER}.`), OPTIONS)).exitCode).toBe(0);
    const written = await readFile(join(directory, "written"), "utf8");
    proved.resolve();
    expect((await writing).exitCode).not.toBe(0);
    expect((await later).exitCode).not.toBe(0);
    expect((await untouched).exitCode).toBe(0);
    expect(await readFile(join(directory, "written"), "utf8")).toBe(written);
  });

  it("ends with its run's cancellation", async () => {
    const controller = new AbortController();
    const options = { ...OPTIONS, signal: controller.signal };
    const writing = guardedMachine(machine, guard).run(["sh", "-c", WRITER, "sh", directory], options);
    await startsWriting();
    controller.abort(new Error("cancelled"));
    await expect(writing).rejects.toThrow("cancelled");
    expect(await writers()).toEqual([]);
  });

  it("ends within 15 s of the run's silence", async () => {
    const stream = new PassThrough();
    const command = watched(guard.id, ["sh", "-c", WRITER, "sh", directory]);
    const running = machine.run(command, { timeout: 60_000, stream });
    stream.write(`.g${"0".padStart(12)}`);
    await startsWriting();
    // Neither a sign of life nor an end: as of a link that drops everything, or a frozen process.
    await until(async () => (await writers()).length === 0, { what: "its end", deadlineMs: 15_000 });
    stream.end();
    expect((await running).exitCode).not.toBe(0);
  });
});

describe("a writer over ssh", () => {
  it("ends when its connection is cut", async () => {
    const guarded = guardedMachine(await over("root"), guard);
    const writing = guarded.run(["sh", "-c", WRITER, "sh", directory], OPTIONS);
    const refused = expect(writing).rejects.toThrow(/cannot be reached over ssh/);
    await startsWriting();
    await connections[0]?.close();
    await refused;
    await until(async () => (await writers()).length === 0, { what: "its end", deadlineMs: 15_000 });
  });
});
