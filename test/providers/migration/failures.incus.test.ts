import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { concludeWithdrawn } from "../../../providers/migration/engine.ts";
import type { IncusDaemon } from "../../testbed/daemon.ts";
import type { Manifest } from "../../testbed/manifest.ts";
import {
  clear,
  connect,
  differencesOf,
  makeContainer,
  manifestsOf,
  requestFor,
  run,
  runAndDie,
  shell,
  show,
  startHost,
} from "./scene.ts";

let daemon: IncusDaemon;
let before: { config: Record<string, string>; files: Map<string, Manifest>; pid: number };

beforeAll(async () => {
  daemon = await startHost("mig-failures", "512MiB");
});
afterAll(async () => daemon?.remove());
beforeEach(async () => {
  await makeContainer(daemon, "mary");
  before = {
    config: await configOf("mary"),
    files: await manifestsOf(daemon, "default", "mary", ["before"]),
    pid: await pidOf("mary"),
  };
});
afterEach(() => clear(daemon));

async function configOf(name: string): Promise<Record<string, string>> {
  const { config } = await daemon.query<{ config: Record<string, string> }>(`/1.0/instances/${name}`);
  return Object.fromEntries(
    Object.entries(config).filter(([key]) => !/\.host_name$|last_state\.ready/.test(key)),
  );
}

async function pidOf(name: string): Promise<number> {
  return (await daemon.query<{ pid: number }>(`/1.0/instances/${name}/state`)).pid;
}

/** The original runs as before from its old pool, under its name, and there is nothing else. */
async function expectUntouched({ restarted = false } = {}): Promise<void> {
  const instances = await show(daemon);
  expect(instances.map(({ name, status }) => `${name} ${status}`)).toEqual(["mary Running"]);
  expect(instances[0]?.expanded_devices["root"]?.["pool"]).toBe("default");
  expect(await configOf("mary")).toEqual(before.config);
  expect((await pidOf("mary")) === before.pid).toBe(!restarted);
  expect(differencesOf(before.files, await manifestsOf(daemon, "default", "mary", ["before"]))).toEqual([]);
  await daemon.ipv4("mary");
}

describe("refused before anything is written", () => {
  it("when it has server-side backups", async () => {
    await daemon.incus("query", "-X", "POST", "--wait", "-d", '{"name":"b1"}', "/1.0/instances/mary/backups");
    await expect(run(daemon, requestFor("mary"))).rejects.toThrow(
      /server-side backups \(.*b1\).*incus export/,
    );
    await expectUntouched();
  });

  it("when files are immutable, also in a snapshot", async () => {
    const file = join(daemon.rootfs("default", "mary"), "srv/old");
    await execa("chattr", ["+i", file]);
    try {
      await expect(run(daemon, requestFor("mary"))).rejects.toThrow(
        /3 of its files are immutable.*chattr -ia/,
      );
    } finally {
      await execa("chattr", ["-i", file]);
    }
    await expectUntouched();
  });

  it("when it is ephemeral, or uses more than its root disk's size, or its parked name is taken", async () => {
    await daemon.incus("launch", "bb", "flying", "--ephemeral");
    await expect(run(daemon, requestFor("flying"))).rejects.toThrow(/ephemeral: stopping it deletes it/);
    await daemon.incus("create", "bb", "fat", "-d", "root,size=1MiB");
    await shellless("fat");
    await expect(run(daemon, requestFor("fat"))).rejects.toThrow(
      /more than the size of its root disk \(1.0 MiB\)/,
    );
    await daemon.incus("create", "bb", `mary-parked-${before.config["volatile.uuid"]?.slice(0, 8)}`);
    await expect(run(daemon, requestFor("mary"))).rejects.toThrow(/taken by another instance/);
  });

  it("when the target pool is missing or unavailable", async () => {
    await expect(run(daemon, requestFor("mary", { target: "nowhere" }))).rejects.toThrow(
      /pool "nowhere" does not exist/,
    );
    await expectUntouched();
  });
});

/** Makes a container's root bigger than 1 MiB. */
async function shellless(name: string): Promise<void> {
  await writeFile(join(daemon.rootfs("default", name), "srv/ballast"), Buffer.alloc(3 * 1024 ** 2, 1));
}

describe("undone, with the original running", () => {
  it("when the container ignores the stop signal; moved by force where that is opted in", async () => {
    await shell(daemon, "mary", "touch /etc/ignore-stop");
    before.files = await manifestsOf(daemon, "default", "mary", ["before"]);
    await expect(run(daemon, requestFor("mary", { stopTimeout: 2_000 }))).rejects.toThrow(
      /did not stop within 2 s.*optIn.forceStop.*Everything was undone/,
    );
    await expectUntouched();
    await run(daemon, requestFor("mary", { stopTimeout: 2_000, forceStop: true }));
    expect((await show(daemon)).map(({ name }) => name)).toContain("mary");
  });

  it("when the health command fails", async () => {
    const request = requestFor("mary", { health: ["sh", "-c", "test -e /srv/never; exit 3"] });
    const started = performance.now();
    await expect(run(daemon, { ...request, healthTimeout: 2_000 })).rejects.toThrow(
      /is not healthy: its health command exited with 3.*Everything was undone: the original is on pool "default" and runs, its copy is deleted\. Pool "\S+" and the images in it stay\./,
    );
    expect(performance.now() - started).toBeLessThan(60_000);
    await expectUntouched({ restarted: true });
  });

  it("when the copy does not start", async () => {
    await expect(
      run(daemon, requestFor("mary"), {
        onStep: async (point) => {
          // A device that only fails at start: its directory is gone by then.
          if (point === "after renamed")
            await daemon
              .incus(
                "config",
                "device",
                "add",
                "mary",
                "host",
                "disk",
                "source=/nonexistent",
                "path=/host",
                "required=true",
              )
              .catch(() => daemon.incus("config", "set", "mary", "raw.lxc=lxc.hook.pre-start=/bin/false"));
        },
      }),
    ).rejects.toThrow(/Everything was undone: the original is on pool "default" and runs/);
    await expectUntouched({ restarted: true });
  });

  it("when the target pool fills up meanwhile", async () => {
    await shell(daemon, "mary", "dd if=/dev/urandom of=/srv/ballast bs=1M count=60 2>/dev/null");
    before.files = await manifestsOf(daemon, "default", "mary", ["before"]);
    const filler = join(daemon.dir, "storage-pools/cow/filler");
    try {
      await expect(
        run(daemon, requestFor("mary"), {
          onStep: async (point) => {
            if (point !== "snapshots compared") return;
            await execa("dd", ["if=/dev/urandom", `of=${filler}`, "bs=1M"], {
              reject: false,
              stdin: "ignore",
            });
            await shell(daemon, "mary", "dd if=/dev/urandom of=/srv/more bs=1M count=60 2>/dev/null");
            before.files = await manifestsOf(daemon, "default", "mary", ["before"]);
          },
        }),
      ).rejects.toThrow(/no space left on the target pool.*Everything was undone/);
    } finally {
      await execa("rm", ["-f", filler]);
    }
    await expectUntouched();
  });

  it("when something else takes the name during the swap", async () => {
    const parked = `mary-parked-${before.config["volatile.uuid"]?.slice(0, 8)}`;
    await expect(
      run(daemon, requestFor("mary"), {
        onStep: async (point) => {
          if (point === "after parking") await daemon.incus("create", "bb", "mary");
        },
      }),
    ).rejects.toThrow(
      new RegExp(
        `^Another instance has the name "mary"; the original is "${parked}".\\n.*Give that one another name`,
      ),
    );
    await daemon.incus("rename", "mary", "intruder");
    await run(daemon, requestFor("mary"));
    const moved = (await show(daemon)).find(({ name }) => name === "mary");
    expect(moved).toMatchObject({ status: "Running" });
    expect(moved?.expanded_devices["root"]?.["pool"]).toBe("cow");
    expect(differencesOf(before.files, await manifestsOf(daemon, "cow", "mary", ["before"]))).toEqual([]);
  });
});

describe("not enough space", () => {
  it("in the target pool: refused with both figures, undone", async () => {
    await shell(daemon, "mary", "dd if=/dev/urandom of=/srv/ballast bs=1M count=600 2>/dev/null");
    before.files = await manifestsOf(daemon, "default", "mary", ["before"]);
    await expect(run(daemon, requestFor("mary"))).rejects.toThrow(
      /Not enough space in pool "cow": 6\d\d MiB needed, \d+ MiB free/,
    );
    await expectUntouched();
  });

  it("under the loop file: refused with both figures, undone", async () => {
    const disks = join(daemon.dir, "disks");
    const image = join(daemon.dataDir, "small.img");
    await execa("truncate", ["--size=340M", image]);
    await execa("mkfs.ext4", ["-q", image]);
    await mkdir(disks, { recursive: true });
    await execa("mount", ["-o", "loop", image, disks]);
    try {
      await daemon.incus("storage", "create", "thin", "btrfs", "size=4GiB");
      await shell(daemon, "mary", "dd if=/dev/urandom of=/srv/ballast bs=1M count=60 2>/dev/null");
      before.files = await manifestsOf(daemon, "default", "mary", ["before"]);
      await expect(run(daemon, requestFor("mary", { target: "thin" }))).rejects.toThrow(
        /Not enough space on the host under the loop file of pool "thin"/,
      );
      await expectUntouched();
      await daemon.incus("storage", "delete", "thin");
    } finally {
      await execa("umount", ["--lazy", disks]);
    }
  });
});

describe("two runs", () => {
  it("at the same time: the second is refused, the first finishes", async () => {
    let second: unknown;
    await run(daemon, requestFor("mary"), {
      onStep: async (point) => {
        if (point !== "first copy") return;
        // Another process: the lease tells them apart by process, not by object.
        second = await runAndDie(daemon, requestFor("mary"), "never");
      },
    });
    expect(second).toMatch(/Refusing to work on "mary": another run is at work on it/);
    expect((await show(daemon)).map(({ name }) => name)).toContain("mary");
  });

  it("on two machines: the next takes over once the first shows no sign of life", {
    timeout: 90_000,
  }, async () => {
    await runAndDie(daemon, requestFor("mary"), "after parking");
    const holder = (await show(daemon)).find(({ config }) => config["user.taos.lease"]);
    const lease = { ...JSON.parse(holder?.config["user.taos.lease"] ?? ""), machine: "another" };
    await daemon.incus("config", "set", holder?.name ?? "", `user.taos.lease=${JSON.stringify(lease)}`);
    const { lines } = await run(daemon, requestFor("mary"));
    expect(lines.join("\n")).toMatch(
      /no sign of life; taking over[\s\S]*resuming an interrupted migration: the source has its parked name/,
    );
    const moved = (await show(daemon)).find(({ name }) => name === "mary");
    expect(moved?.expanded_devices["root"]?.["pool"]).toBe("cow");
  });
});

describe("the opt-in withdrawn half-way", () => {
  async function conclude(): Promise<string[]> {
    const lines: string[] = [];
    const client = connect(daemon);
    await concludeWithdrawn(client, requestFor("mary"), { progress: (line) => lines.push(line) });
    await client.close();
    return lines;
  }

  it.each(["snapshots compared", "after seeded", "after stopping", "after stopped", "after verified"])(
    "at %s: undone, the original runs",
    async (point) => {
      await runAndDie(daemon, requestFor("mary"), point);
      expect((await conclude()).join("\n")).toMatch(/resuming[\s\S]*undone: "mary" is as it was/);
      await expectUntouched({ restarted: !["snapshots compared", "after seeded"].includes(point) });
    },
  );

  it.each(["after parking", "after renamed", "after dressed"])("at %s: finished", async (point) => {
    await runAndDie(daemon, requestFor("mary"), point);
    await conclude();
    const moved = (await show(daemon)).find(({ name }) => name === "mary");
    expect(moved).toMatchObject({ status: "Running" });
    expect(moved?.expanded_devices["root"]?.["pool"]).toBe("cow");
    expect(differencesOf(before.files, await manifestsOf(daemon, "cow", "mary", ["before"]))).toEqual([]);
  });
});

it("undoes after a kill during the undo", async () => {
  const request = requestFor("mary", { health: ["false"], healthTimeout: 1_500 });
  // Dies after the name was taken from the unhealthy copy: nobody has it.
  const said = await runAndDie(daemon, request, "after undoCopyName");
  expect(said).toContain("undoing: ");
  await run(daemon, requestFor("mary"));
  const moved = (await show(daemon)).find(({ name }) => name === "mary");
  expect(moved?.expanded_devices["root"]?.["pool"]).toBe("cow");
});

it("never takes a copy back that another run had started", async () => {
  await runAndDie(daemon, requestFor("mary"), "after dressed");
  await shell(daemon, "mary", "echo newer >/srv/newer");
  await expect(run(daemon, requestFor("mary", { health: ["false"], healthTimeout: 1_500 }))).rejects.toThrow(
    /Nothing was undone, since the container may have written new data/,
  );
  expect(await shell(daemon, "mary", "cat /srv/newer")).toBe("newer");
  await run(daemon, requestFor("mary"));
  expect((await show(daemon)).map(({ name }) => name).sort()).toEqual([
    "mary",
    `mary-parked-${before.config["volatile.uuid"]?.slice(0, 8)}`,
  ]);
});

it.each([
  ["only the record was renamed", false],
  ["record and directories were renamed", true],
])("mends what a daemon killed within a rename leaves: %s", async (_what, directories) => {
  const parked = `mary-parked-${before.config["volatile.uuid"]?.slice(0, 8)}`;
  await runAndDie(daemon, requestFor("mary"), "after verified");
  const statement = `UPDATE storage_volumes SET name='${parked}' WHERE name='mary'`;
  await daemon.incus("admin", "sql", "global", statement);
  for (const kind of directories ? ["containers", "containers-snapshots"] : []) {
    const place = join(daemon.dir, "storage-pools/default", kind);
    await rename(join(place, "mary"), join(place, parked));
    await rename(join(daemon.dir, kind, "mary"), join(daemon.dir, kind, parked));
  }
  await expect(daemon.incus("rename", "mary", "other")).rejects.toThrow(/storage pool not found/);
  const { lines } = await run(daemon, requestFor("mary"));
  expect(lines.join("\n")).toContain('putting right the volume of "mary"');
  const moved = (await show(daemon)).find(({ name }) => name === "mary");
  expect(moved).toMatchObject({ status: "Running" });
  expect(moved?.expanded_devices["root"]?.["pool"]).toBe("cow");
  expect(differencesOf(before.files, await manifestsOf(daemon, "default", parked, ["before"]))).toEqual([]);
  expect(differencesOf(before.files, await manifestsOf(daemon, "cow", "mary", ["before"]))).toEqual([]);
});
