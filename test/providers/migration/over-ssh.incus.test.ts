import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { IncusClient } from "../../../providers/incus/client.ts";
import { type MigrationOptions, migrate } from "../../../providers/migration/engine.ts";
import type { IncusDaemon } from "../../testbed/daemon.ts";
import { until } from "../../testbed/deadline.ts";
import { type Link, startLink } from "../../testbed/link.ts";
import { createUser, type PlainUser } from "../../testbed/plain-user.ts";
import { SSH_HOST, SSH_PORT, type SshServer, startSshd } from "../../testbed/sshd.ts";
import {
  clear,
  differencesOf,
  makeContainer,
  manifestsOf,
  requestFor,
  shell,
  show,
  startHost,
} from "./scene.ts";

let d: IncusDaemon;
let sshd: SshServer;
let admin: PlainUser;
const ADMIN = "taos-mig-ssh";
let link: Link;
let uuid: string;
let watch: { stop(): Promise<string[]> };
const path = process.env["PATH"] ?? "";

beforeAll(async () => {
  d = await startHost("mig-ssh", "2GiB");
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
  link = await startLink({ host: d.address, port: SSH_PORT }, 0);
  await sshd.connectOver(link.port);
  await makeContainer(d, "mary");
  await shell(d, "mary", "(while :; do echo x >>/srv/written; usleep 20000; done) >/dev/null 2>&1 &");
  uuid = (await show(d))[0]?.config["volatile.uuid"] ?? "";
  watch = watchWriters();
});
afterEach(async () => {
  await link.close();
  await clear(d);
});

/** Runs with processes that write for mary, by the machine's own list of processes. */
async function writingRuns(): Promise<string[]> {
  const look = ["-c", 'grep -hsaz "^TAOS_WRITER=$1" /proc/[0-9]*/environ | tr "\\0" "\\n" | sort -u', "sh"];
  return (await execa("sh", [...look, uuid])).stdout.split("\n").filter(Boolean);
}

/** Looks all the time who writes for mary. @returns moments at which there was more than one run */
function watchWriters(): { stop(): Promise<string[]> } {
  const moments: string[] = [];
  let isOn = true;
  const looking = (async () => {
    while (isOn) {
      const runs = await writingRuns();
      if (runs.length > 1) moments.push(runs.join(" and "));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  return {
    async stop() {
      isOn = false;
      await looking;
      return moments;
    },
  };
}

const connection = (user = "root"): string => `ssh://${user}@${SSH_HOST}${d.socketPath}`;

async function run(user = "root", options: Partial<MigrationOptions> = {}): Promise<string[]> {
  const lines: string[] = [];
  const client = new IncusClient({ name: "board", connection: connection(user) });
  try {
    await migrate(client, requestFor("mary"), { progress: (line) => lines.push(line), ...options });
    return lines;
  } finally {
    await client.close();
  }
}

/** mary runs from the new pool with all that she had at the stop; nobody wrote beside another, and nothing is left. */
async function expectMoved(): Promise<void> {
  const parked = `mary-parked-${uuid.slice(0, 8)}`;
  const instances = (await show(d)).toSorted((a, b) => a.name.localeCompare(b.name));
  const places = instances.map(
    ({ name, status, expanded_devices: devices }) => `${name} ${status} ${devices["root"]?.["pool"]}`,
  );
  expect(places).toEqual(["mary Running cow", `${parked} Stopped default`]);
  for (const { config } of instances)
    expect(Object.keys(config).filter((key) => /^user\.taos\.(migration|lease)$/.test(key))).toEqual([]);
  const [before, after] = await Promise.all([
    manifestsOf(d, "default", parked, ["before"]),
    manifestsOf(d, "cow", "mary", ["before"]),
  ]);
  expect(differencesOf(before, after)).toEqual([]);
  expect(await watch.stop()).toEqual([]);
  expect(await writingRuns()).toEqual([]);
}

/** Another controller: a process that does not end with this one's connection. It freezes or kills itself at a point. */
function controller(dieAt: string, signal: "SIGKILL" | "SIGSTOP"): { child: ChildProcess; said: string[] } {
  const script = `${import.meta.dirname}/migrate-child.ts`;
  const argument = JSON.stringify({ connection: connection(), request: requestFor("mary"), dieAt, signal });
  // Process ids of its own, as on another machine: nothing tells whether it lives but its signs of life.
  const elsewhere = ["--pid", "--fork", "--kill-child", "--", "sh", "-c", '"$@"; exit "$?"', "sh"];
  const child = spawn("unshare", [...elsewhere, process.execPath, script, argument], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const said: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    if (stream) createInterface({ input: stream }).on("line", (line) => said.push(line));
  return { child, said };
}

const ended = (child: ChildProcess): Promise<void> =>
  child.exitCode === null ? new Promise((resolve) => child.once("exit", () => resolve())) : Promise.resolve();

describe("a container with a writer moves over ssh", () => {
  it.each(["root", ADMIN])("as %s", { timeout: 120_000 }, async (user) => {
    await run(user);
    await expectMoved();
  });
});

// Each point once; over unix all of them are struck in every way (interruptions.incus.test.ts).
describe("the link is cut", () => {
  it.each(["first copy", "final pass", "after renamed"])(
    "at %s: the run goes on",
    { timeout: 120_000 },
    async (point) => {
      let struck = 0;
      const onStep = (reached: string): void => {
        if (reached === point && ++struck === 1) link.cut();
      };
      await run("root", { onStep });
      expect(struck).toBeGreaterThan(0);
      await expectMoved();
    },
  );
});

describe("the controller is killed", () => {
  it.each(["clone created", "final pass", "after parking"])(
    "at %s: the next run finishes",
    { timeout: 120_000 },
    async (point) => {
      const { child, said } = controller(point, "SIGKILL");
      await ended(child);
      expect(said).not.toContain("ended");
      expect((await run()).join("\n")).toMatch(/no sign of life; taking over[\s\S]*resuming an interrupted/);
      await expectMoved();
    },
  );
});

describe("the controller is frozen, and another one takes over", () => {
  it.each(["first copy", "after parking"])(
    "at %s: woken, it writes nothing",
    {
      timeout: 150_000,
    },
    async (point) => {
      const { child, said } = controller(point, "SIGSTOP");
      const pid = await until(() => said.find((line) => line.startsWith("process "))?.split(" ")[1], {
        what: "the controller",
      });
      const isFrozen = async (): Promise<boolean> =>
        (await execa("ps", ["-o", "state=", "-p", pid])).stdout.trim() === "T";
      await until(isFrozen, { what: "the controller to be frozen", deadlineMs: 60_000 });
      let isWoken = false;
      await run("root", {
        onStep: async (reached) => {
          // In the midst of the other one's work: wherever that is, after what this one has done already.
          if (isWoken || reached === "clone created") return;
          isWoken = true;
          process.kill(Number(pid), "SIGCONT");
          await ended(child);
        },
      });
      expect(isWoken).toBe(true);
      expect(said.join("\n")).toMatch(/LeaseLostError: Another run took over the migration of "mary/);
      await expectMoved();
    },
  );

  it("in the midst of rsync: it is ended there before the other one writes", {
    timeout: 180_000,
  }, async () => {
    await shell(d, "mary", "dd if=/dev/urandom of=/srv/big bs=1M count=300 2>/dev/null");
    const { child, said } = controller("never", "SIGSTOP");
    const pid = await until(() => said.find((line) => line.startsWith("process "))?.split(" ")[1], {
      what: "the controller",
    });
    await until(async () => (await writingRuns()).length > 0, { what: "a writer", deadlineMs: 60_000 });
    process.kill(Number(pid), "SIGSTOP");
    await run();
    await expectMoved();
    const shown = JSON.stringify(await show(d));
    process.kill(Number(pid), "SIGCONT");
    await ended(child);
    expect(said.join("\n")).toMatch(/LeaseLostError: /);
    expect(JSON.stringify(await show(d))).toBe(shown);
  });
});

describe("the link, without a word,", () => {
  it("loses everything while rsync writes: it ends there, and the run goes on once the link is back", {
    timeout: 180_000,
  }, async () => {
    await shell(d, "mary", "dd if=/dev/urandom of=/srv/big bs=1M count=300 2>/dev/null");
    const running = run();
    await until(async () => (await writingRuns()).length > 0, { what: "a writer", deadlineMs: 60_000 });
    link.drop();
    await until(async () => (await writingRuns()).length === 0, { what: "its end", deadlineMs: 15_000 });
    link.mend();
    await running;
    await expectMoved();
  });
});
