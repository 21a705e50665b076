import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Plan } from "../../infra/plan/plan.ts";
import { projectRoot } from "../pulumi/cli.ts";
import {
  changesOf,
  createStack,
  errorsOf,
  type HostsConfig,
  type RunResult,
  type TestStack,
} from "../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { until } from "../testbed/deadline.ts";
import { recordEvents } from "../testbed/events.ts";
import { buildBigImage, importImage } from "../testbed/images.ts";
import { diffManifests, type Manifest, manifest } from "../testbed/manifest.ts";
import {
  instanceOf,
  keptOf,
  lostIn,
  occupied,
  parkedOf,
  placesOf,
  rootOf,
  type Shown,
  setUpDirHost,
  shell,
  twin,
} from "./scene.ts";

/** The base image of an agent: 494 MB in 8,400 files. */
const IMAGE = { fileCount: 8_400, bytes: 494_000_000 };
const MIB = 1024 ** 2;
const SNAPSHOTS = ["monday", "tuesday", "wednesday"];

/**
 * Appends to a log and rewrites a record in place, both on disk before the line is acknowledged: to its standard
 * output, which leaves the container, so it proves what somebody outside was told.
 */
const WRITER = [
  "n=0; while :; do n=$((n+1))",
  "echo line $n >>/srv/log; fsync /srv/log",
  "printf %08d $n | dd of=/srv/database bs=8 conv=notrunc,fsync 2>/dev/null",
  "echo $n; usleep 20000; done",
].join("; ");

let d: IncusDaemon;
let stack: TestStack;
let endWriter: (() => void) | undefined;

beforeAll(async () => {
  d = await startDaemon({ name: "mig-real-size" });
  await setUpDirHost(d);
  await importImage(d, "agent", await buildBigImage(IMAGE));
  for (const name of ["naira", "stanley"]) await d.incus("launch", "bb", name);
  await d.incus("init", "bb", "olga");
  await makeMary();
  // A small one goes first: then the pool is there and the base image warm.
  stack = await createStack({ name: "real-size", hosts: await hosts(["olga"]) });
  expect(errorsOf(await stack.up())).toBe("");
  await stack.setHosts(await hosts(["olga", "mary"]));
}, 300_000);
afterAll(async () => {
  endWriter?.();
  await stack?.remove();
  await d?.remove();
});

async function hosts(migrate: string[]): Promise<HostsConfig> {
  const containers = { mary: {}, naira: {}, stanley: {}, olga: {} };
  return twin(d, { containers, images: ["agent"], optIn: { migrate } });
}

/** Where mary and those beside her are. */
async function places(): Promise<string[]> {
  return (await placesOf(d)).filter((place) => !place.startsWith("olga"));
}

async function poolUsed(): Promise<number> {
  const { space } = await d.query<{ space: { used: number } }>("/1.0/storage-pools/default-cow/resources");
  return space.used;
}

async function makeMary(): Promise<void> {
  const gateway = (await d.query<{ config: Record<string, string> }>("/1.0/networks/incusbr0")).config[
    "ipv4.address"
  ];
  const address = gateway?.replace(/\.\d+\/\d+$/, ".77") ?? "";
  await d.incus("storage", "volume", "create", "default", "memories");
  await d.incus("init", "agent", "mary", "-c", "raw.idmap=both 1000 1000", "-c", "limits.memory=512MiB");
  await d.incus(
    "config",
    "set",
    "mary",
    "environment.TAOS_AGENT_NAME=mary",
    "boot.autostart.priority=7",
    "snapshots.expiry=30d",
  );
  await d.incus("config", "device", "override", "mary", "eth0", `ipv4.address=${address}`);
  await d.incus(
    "config",
    "device",
    "add",
    "mary",
    "memories",
    "disk",
    "pool=default",
    "source=memories",
    "path=/memories",
  );
  for (const port of [7001, 7002]) {
    const ends = [`listen=tcp:127.0.0.1:${port}`, "connect=tcp:127.0.0.1:80"];
    await d.incus("config", "device", "add", "mary", `taos-proxy-${port}`, "proxy", ...ends);
  }
  await d.incusWithInput(
    "#!/bin/sh\nexec httpd -f -p 80 -h /memories\n",
    "file",
    "push",
    "--mode=755",
    "-",
    "mary/etc/rc.local",
  );
  await d.incus("start", "mary");
  await shell(
    d,
    "mary",
    "echo months >/memories/index.html; dd if=/dev/urandom of=/srv/own bs=1M count=60 2>/dev/null",
  );
  await shell(
    d,
    "mary",
    "ln /srv/own /srv/own-too; ln /opt/d1/f100 /srv/of-the-image; chown agent /srv/own; mkfifo /srv/fifo",
  );
  for (const name of SNAPSHOTS) {
    await shell(
      d,
      "mary",
      `echo ${name} >>/srv/diary; cp /opt/d2/f200 /srv/${name}; rm -f /opt/d3/f3${name.length}*; ln /srv/diary /srv/of-${name}`,
    );
    await d.incus("snapshot", "create", "mary", name);
  }
  await shell(
    d,
    "mary",
    "rm /srv/monday; echo more >>/opt/d4/f400; mkdir -p /home/agent/deep/er; ln /srv/diary /home/agent/deep/er/link",
  );
  await d.ipv4("mary");
}

async function othersNow(): Promise<{ instance: unknown; pid: number; files: Manifest }[]> {
  return Promise.all(
    ["naira", "stanley"].map(async (name) => {
      const { state, ...instance } = await instanceOf(d, name);
      return {
        instance: keptOf({ ...instance, state }),
        pid: state.pid,
        files: await manifest(rootOf(d, "default", { ...instance, state })),
      };
    }),
  );
}

/** `npm run plan` as a program reads it. */
async function planNow(): Promise<Plan> {
  const args = [
    `${projectRoot}/infra/commands/plan-command.ts`,
    "--config-file",
    stack.configFile,
    "--stack",
    stack.name,
  ];
  const { stdout } = await execa("node", [...args, "--format=json"], {
    reject: false,
    stdin: "ignore",
    timeout: 60_000,
  });
  return JSON.parse(stdout) as Plan;
}

async function served(port: number): Promise<string> {
  return d.inNetwork("busybox", "wget", "-q", "-O-", `http://127.0.0.1:${port}/index.html`);
}

describe("mary, 494 MB of image and 60 MB of her own, writing until she stops", () => {
  it("moves with everything she has, as the preview said", { timeout: 600_000 }, async () => {
    const before = await instanceOf(d, "mary");
    const others = await othersNow();
    const usedBefore = await poolUsed();
    const address = await d.ipv4("mary");
    expect(await served(7002)).toBe("months");

    const preview = await stack.preview();
    expect(errorsOf(preview)).toBe("");
    const planned = (await planNow()).hosts[0]?.actions.find(({ kind }) => kind === "migrate");
    // The report of the preview names them for people.
    const sentence = /container mary: migrate: moves from pool default to default-cow; [^+]*/
      .exec(preview.output)?.[0]
      .replaceAll(/\s+/g, " ");
    expect(sentence).toMatch(
      /copies 2\.\d GiB, 3 snapshots, down about \d+ s; needs at most \d+ MiB of \d\.\d GiB\)/,
    );
    expect(await places()).toEqual([
      "mary Running default",
      "naira Running default",
      "stanley Running default",
    ]);

    const writer = execa("incus", ["exec", "mary", "--", "sh", "-c", WRITER], {
      env: d.env,
      stdin: "ignore",
      reject: false,
    });
    endWriter = () => writer.kill();
    const acknowledged: number[] = [];
    writer.stdout.on("data", (chunk: Buffer) =>
      acknowledged.push(...chunk.toString().trim().split("\n").map(Number)),
    );
    await until(() => acknowledged.length > 20, { what: "the writer to be at work" });
    const record = await recordEvents(d);
    const up = await stack.up({ timeoutMs: 300_000 });
    await record.stop();
    await writer;
    expect(errorsOf(up)).toBe("");
    expect(up.exitCode).toBe(0);

    const mary = await instanceOf(d, "mary");
    const parked = await instanceOf(d, parkedOf(mary));
    expect(await places()).toEqual([
      "mary Running default-cow",
      `${parked.name} Stopped default`,
      "naira Running default",
      "stanley Running default",
    ]);
    expect(await lostIn(d, parked, mary)).toEqual([]);
    expect(keptOf(mary)).toEqual(keptOf(before));
    expect(mary.config["volatile.cloud-init.instance-id"]).toBe(
      before.config["volatile.cloud-init.instance-id"],
    );
    expect(await d.ipv4("mary")).toBe(address);
    for (const port of [7001, 7002]) expect(await served(port)).toBe("months");

    const last = Math.max(...acknowledged);
    const written = await shell(d, "mary", "cat /srv/log; echo; cat /srv/database");
    expect(written).toContain(`line ${last}\n`);
    expect(Number(written.split("\n").at(-1))).toBeGreaterThanOrEqual(last);
    expect(await shell(d, "mary", "cat /etc/template-stamp")).toBe("create mary");

    // Nobody else was touched: not a process, a file, a setting, an event.
    const now = await othersNow();
    expect(now.map(({ instance, pid }) => ({ instance, pid }))).toEqual(
      others.map(({ instance, pid }) => ({ instance, pid })),
    );
    for (const [index, { files }] of now.entries())
      expect(diffManifests(others[index]?.files ?? new Map(), files)).toEqual([]);
    expect(record.lifecycle().filter((line) => /naira|stanley/.test(line))).toEqual([]);

    await expectAsPlanned(up, planned?.cost, parked, usedBefore);
    expect(changesOf(await stack.up())).toEqual([]);
  });

  async function expectAsPlanned(
    up: RunResult,
    cost: NonNullable<Plan["hosts"][number]["actions"][number]["cost"]> | undefined,
    parked: Shown,
    usedBefore: number,
  ): Promise<void> {
    const roots = [
      rootOf(d, "default", parked),
      ...SNAPSHOTS.map((name) => rootOf(d, "default", parked, name)),
    ];
    // The writer went on after the plan.
    expect(Math.abs((cost?.bytes ?? 0) - (await occupied(...roots)))).toBeLessThan(2 * MIB);
    expect(cost?.snapshots).toBe(parked.snapshots?.length);
    const downtime = Number(/started ([\d.]+) s after it had stopped/.exec(up.output)?.[1]);
    expect(downtime).toBeLessThan(cost?.downtimeSeconds ?? 0);
    // A plain copy takes the root's size and that of each snapshot.
    const growth = (await poolUsed()) - usedBefore;
    expect(growth).toBeLessThan(0.2 * (await occupied(rootOf(d, "default", parked))));
    expect(growth).toBeLessThan(cost?.spaceNeeded ?? 0);
  }
});
