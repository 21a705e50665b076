import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { removeParked } from "../../../providers/parking/parked.ts";
import type { IncusDaemon } from "../../testbed/daemon.ts";
import { type Manifest, manifest } from "../../testbed/manifest.ts";
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
beforeAll(async () => {
  daemon = await startHost("mig-clones");
});
afterAll(async () => daemon?.remove());
afterEach(() => clear(daemon));

const ADDRESS_KEYS = /\.host_name$|last_state\./;

async function makeMary(): Promise<{ uuid: string; mac: string }> {
  await makeContainer(daemon, "mary");
  const [mary] = await show(daemon);
  return {
    uuid: mary?.config["volatile.uuid"] ?? "",
    mac: mary?.config["volatile.eth0.hwaddr"] ?? "",
  };
}

/** An instance as a person sees it: settings but for what changes by itself, and files. */
async function whole(
  name: string,
): Promise<{ status: string; config: Record<string, string>; devices: object; files: Manifest }> {
  const instance = (await show(daemon)).find((one) => one.name === name);
  if (!instance) throw new Error(`there is no instance ${name}`);
  const config = Object.fromEntries(
    Object.entries(instance.config).filter(([key]) => !ADDRESS_KEYS.test(key)),
  );
  const pool = instance.expanded_devices["root"]?.["pool"] ?? "";
  const files = await manifest(daemon.rootfs(pool, name));
  return { status: instance.status, config, devices: instance.devices, files };
}

/** mary runs from the new pool as herself and her source is kept, beside exactly these others. */
async function expectMoved(
  { uuid, mac }: { uuid: string; mac: string },
  others: string[] = [],
): Promise<void> {
  const instances = await show(daemon);
  const parked = `mary-parked-${uuid.slice(0, 8)}`;
  expect(instances.map(({ name }) => name).toSorted()).toEqual(["mary", parked, ...others].toSorted());
  const mary = instances.find(({ name }) => name === "mary");
  expect(mary?.status).toBe("Running");
  expect(mary?.expanded_devices["root"]?.["pool"]).toBe("cow");
  expect(mary?.config["volatile.uuid"]).toBe(uuid);
  expect(mary?.config["volatile.eth0.hwaddr"]).toBe(mac);
  expect(marksOf(mary?.config)).toEqual([]);
  const kept = await manifestsOf(daemon, "default", parked, ["before"]);
  expect(differencesOf(kept, await manifestsOf(daemon, "cow", "mary", ["before"]))).toEqual([]);
}

function marksOf(config: Record<string, string> = {}): string[] {
  return Object.keys(config).filter((key) => /^user\.taos\.(migration|lease|parked)$/.test(key));
}

async function remove(name: string): Promise<string[]> {
  const client = connect(daemon);
  try {
    return await removeParked(client, { project: "default", name }, () => undefined);
  } finally {
    await client.close();
  }
}

describe("removing the parked source", () => {
  it("leaves every copy of it alone, also one that was put back to a snapshot", async () => {
    const mary = await makeMary();
    await run(daemon, requestFor("mary"));
    const parked = `mary-parked-${mary.uuid.slice(0, 8)}`;
    await daemon.incus("snapshot", "create", parked, "kept");
    await daemon.incus("copy", parked, "mary-2024");
    await daemon.incus("copy", `${parked}/kept`, "mary-kept");
    await daemon.incus("copy", parked, "mary-back");
    await daemon.incus("snapshot", "restore", "mary-back", "kept");
    const clones = ["mary-2024", "mary-back", "mary-kept"];
    const before = await Promise.all(clones.map(whole));
    // Incus gives a copy the uuid of the instance from which the snapshot was once made.
    expect(before[1]?.config["volatile.uuid"]).toBe(mary.uuid);

    expect(await remove("mary")).toEqual([parked]);

    expect((await show(daemon)).map(({ name }) => name).toSorted()).toEqual(["mary", ...clones]);
    expect(await Promise.all(clones.map(whole))).toEqual(before);
    expect(await remove("mary")).toEqual([]);
  });

  it("is refused where another instance has the name by now", async () => {
    await makeMary();
    await run(daemon, requestFor("mary"));
    await daemon.incus("copy", "mary", "twin");
    await daemon.incus("delete", "--force", "mary");
    await daemon.incus("rename", "twin", "mary");
    await expect(remove("mary")).rejects.toThrow(/is not the instance that took over.*only copy/);
    expect(await show(daemon)).toHaveLength(2);
  });

  it("is refused where something of the host is mounted below it, which stays whole", async () => {
    const { uuid } = await makeMary();
    await run(daemon, requestFor("mary"));
    const parked = `mary-parked-${uuid.slice(0, 8)}`;
    await withMount(join(daemon.rootfs("default", parked), "srv"), async (precious) => {
      await expect(remove("mary")).rejects.toThrow(
        new RegExp(`Refusing to delete "${parked}".*mounted below.*/srv`),
      );
      expect([...(await manifest(precious)).keys()]).toContain("letters");
      expect(await show(daemon)).toHaveLength(2);
    });
    expect(await remove("mary")).toEqual([parked]);
  });
});

/** A host directory with a file in it, mounted over `target` for the time of the task. */
async function withMount(target: string, task: (precious: string) => Promise<void>): Promise<void> {
  const precious = join(daemon.dataDir, "precious");
  await execa("mkdir", ["-p", precious]);
  await writeFile(join(precious, "letters"), "of years");
  await execa("mount", ["--bind", precious, target]);
  try {
    await task(precious);
  } finally {
    await execa("umount", [target]);
  }
}

describe("a migration", () => {
  it("is refused where something of the host is mounted below the root", async () => {
    const mary = await makeMary();
    const before = await whole("mary");
    await withMount(join(daemon.rootfs("default", "mary"), "srv"), async () => {
      await expect(run(daemon, requestFor("mary"))).rejects.toThrow(
        /Refusing to migrate "mary": something that is not its own is mounted below its root at .*rootfs\/srv/,
      );
    });
    expect(await whole("mary")).toEqual(before);
    expect(await show(daemon)).toHaveLength(1);
    await run(daemon, requestFor("mary"));
    await expectMoved(mary);
  });

  it("is undone where it is mounted while the container moves", async () => {
    await makeMary();
    const target = join(daemon.rootfs("default", "mary"), "srv");
    await withMount(target, async (precious) => {
      await execa("umount", [target]);
      const onStep = async (point: string): Promise<void> => {
        if (point === "after stopping") await execa("mount", ["--bind", precious, target]);
      };
      await expect(run(daemon, requestFor("mary"), { onStep })).rejects.toThrow(
        /Refusing to copy "mary".*srv/,
      );
      expect([...(await manifest(precious)).keys()]).toContain("letters");
    });
    const instances = await show(daemon);
    expect(instances.map(({ name, status }) => `${name} ${status}`)).toEqual(["mary Running"]);
  });

  it.each([
    { at: "first copy", clone: "mary" },
    { at: "after seeded", clone: "mary" },
    { at: "after stopped", clone: "mary" },
    { at: "after verified", clone: "mary" },
    { at: "after parking", clone: "mary-parked-UUID" },
    { at: "after parked", clone: "mary" },
    { at: "after started", clone: "mary-parked-UUID" },
    { at: "after seeded", clone: "mary-copy-UUID" },
  ])("killed at $at is finished beside a copy of $clone that a person made", async ({ at, clone }) => {
    const mary = await makeMary();
    await runAndDie(daemon, requestFor("mary"), at);
    await daemon.incus("copy", clone.replace("UUID", mary.uuid.slice(0, 8)), "mary-backup");
    const backup = await whole("mary-backup");
    await run(daemon, requestFor("mary"));
    await expectMoved(mary, ["mary-backup"]);
    expect(await whole("mary-backup")).toEqual(backup);
  });

  it("moves a copy that carries the marks of its original like any other container", async () => {
    const mary = await makeMary();
    await runAndDie(daemon, requestFor("mary"), "after seeded");
    await daemon.incus("copy", "mary", "klon");
    await daemon.incus("start", "klon");
    await run(daemon, requestFor("klon"));
    await run(daemon, requestFor("mary"));
    const klon = (await show(daemon)).find(({ name }) => name === "klon");
    expect(klon?.expanded_devices["root"]?.["pool"]).toBe("cow");
    expect(marksOf(klon?.config)).toEqual([]);
    const kept = `klon-parked-${klon?.config["volatile.uuid"]?.slice(0, 8)}`;
    await expectMoved(mary, ["klon", kept]);
  });
});

describe("a snapshot taken during a migration", () => {
  it.each(["after seeded", "after verified"])(
    "at %s: copied, it is a container of its own",
    async (point) => {
      const mary = await makeMary();
      const onStep = async (at: string): Promise<void> => {
        if (at === point) await daemon.incus("snapshot", "create", "mary", "mid");
      };
      // Taken after the comparison it is missing in the copy, which is seen or does no harm: the source has it.
      await run(daemon, requestFor("mary"), { onStep });
      const source = point === "after verified" ? `mary-parked-${mary.uuid.slice(0, 8)}` : "mary";
      await daemon.incus("copy", `${source}/mid`, "klon");
      const klon = await whole("klon");
      expect((await run(daemon, requestFor("mary"))).lines).toEqual([]);
      await expectMoved(mary, ["klon"]);
      expect(await whole("klon")).toEqual(klon);
    },
  );

  it("restored after it: one run takes the old marks off and moves nothing", async () => {
    const mary = await makeMary();
    const onStep = async (at: string): Promise<void> => {
      if (at !== "after seeded") return;
      await shell(daemon, "mary", "echo mid >/srv/mid");
      await daemon.incus("snapshot", "create", "mary", "mid");
    };
    await run(daemon, requestFor("mary"), { onStep });
    await shell(daemon, "mary", "rm /srv/mid");
    await daemon.incus("snapshot", "restore", "mary", "mid");
    expect(marksOf((await show(daemon)).find(({ name }) => name === "mary")?.config)).not.toEqual([]);
    await run(daemon, requestFor("mary"));
    const restored = (await show(daemon)).find(({ name }) => name === "mary");
    expect(marksOf(restored?.config)).toEqual([]);
    expect(restored).toMatchObject({ status: "Running", profiles: ["default"] });
    expect(restored?.expanded_devices["root"]?.["pool"]).toBe("cow");
    expect(restored?.config["volatile.eth0.hwaddr"]).toBe(mary.mac);
    expect(await shell(daemon, "mary", "cat /srv/mid")).toBe("mid");
    expect((await run(daemon, requestFor("mary"))).lines).toEqual([]);
    expect(await remove("mary")).toEqual([`mary-parked-${mary.uuid.slice(0, 8)}`]);
  });

  it.each([
    { at: "after seeded", snapshot: "mid" },
    { at: "after stopped", snapshot: "mid" },
    { at: "after stopped", snapshot: "before" },
    { at: "after verified", snapshot: "mid" },
    { at: "after verified", snapshot: "before" },
  ])("restored between two runs, killed at $at: $snapshot is what moves", async ({ at, snapshot }) => {
    const mary = await makeMary();
    await runAndDie(daemon, requestFor("mary"), at);
    await daemon.incus("snapshot", "create", "mary", "mid");
    await daemon.incus("snapshot", "restore", "mary", snapshot);
    const before = await manifestsOf(daemon, "default", "mary", ["before", "mid"]);
    await run(daemon, requestFor("mary"));
    const instances = await show(daemon);
    const parked = `mary-parked-${mary.uuid.slice(0, 8)}`;
    expect(instances.map(({ name }) => name).toSorted()).toEqual(["mary", parked]);
    const moved = instances.find(({ name }) => name === "mary");
    // The interrupted run had stopped it.
    expect(moved?.status).toBe("Running");
    expect(moved?.expanded_devices["root"]?.["pool"]).toBe("cow");
    expect(marksOf(moved?.config)).toEqual([]);
    expect(moved?.config["boot.autostart"]).toBeUndefined();
    const ignore = (path: string): boolean => /^(tmp|run|var|etc)/.test(path);
    expect(
      differencesOf(before, await manifestsOf(daemon, "cow", "mary", ["before", "mid"]), ignore),
    ).toEqual([]);
    await daemon.ipv4("mary");
  });
});

/** Where a run is struck, and what a person renames then. */
const RENAMED: [point: string, instance: string][] = [
  ["after seeded", "mary-copy"],
  ["after stopped", "mary-copy"],
  ["after parking", "mary-parked"],
  ["after dressed", "mary-parked"],
  ["after started", "mary-parked"],
];

describe("renamed by hand after a kill", () => {
  it.each(RENAMED)("%s, %s: the next run finishes, and nothing of it is left", async (point, instance) => {
    const { uuid, mac } = await makeMary();
    await runAndDie(daemon, requestFor("mary"), point);
    await daemon.incus("rename", `${instance}-${uuid.slice(0, 8)}`, "by-hand");
    await run(daemon, requestFor("mary"));
    const instances = await show(daemon);
    const mary = instances.find(({ name }) => name === "mary");
    expect(instances).toHaveLength(2);
    expect(mary?.status).toBe("Running");
    expect(mary?.expanded_devices["root"]?.["pool"]).toBe("cow");
    expect(mary?.config["volatile.eth0.hwaddr"]).toBe(mac);
    for (const one of instances)
      expect(marksOf(one.config).filter((key) => !key.endsWith("parked"))).toEqual([]);
    expect((await run(daemon, requestFor("mary"))).lines).toEqual([]);
  });
});
