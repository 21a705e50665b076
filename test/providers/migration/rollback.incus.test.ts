import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { concludeWithdrawn, rollBack } from "../../../providers/migration/engine.ts";
import { removeParked } from "../../../providers/parking/parked.ts";
import type { IncusDaemon } from "../../testbed/daemon.ts";
import { pointsOn } from "./points.ts";
import {
  clear,
  connect,
  differencesOf,
  makeContainer,
  manifestsOf,
  requestFor,
  run,
  runAndDie,
  type Shown,
  shell,
  show,
  startHost,
} from "./scene.ts";

let daemon: IncusDaemon;
beforeAll(async () => {
  daemon = await startHost("mig-rollback");
});
afterAll(async () => daemon?.remove());
afterEach(async () => {
  await clear(daemon);
  await daemon.incus("profile", "device", "set", "default", "root", "pool=default");
});

/** mary, migrated a while ago, with something written since. */
async function makeMigrated(): Promise<{ uuid: string; mac: string; address: string; before: Shown }> {
  await makeContainer(daemon, "mary");
  const before = await named("mary");
  const address = await daemon.ipv4("mary");
  await run(daemon, requestFor("mary"));
  await shell(daemon, "mary", "echo since >/srv/since");
  return {
    uuid: before.config["volatile.uuid"] ?? "",
    mac: before.config["volatile.eth0.hwaddr"] ?? "",
    address,
    before,
  };
}

async function named(name: string): Promise<Shown> {
  const found = (await show(daemon)).find((one) => one.name === name);
  if (!found) throw new Error(`there is no ${name}`);
  return found;
}

async function undo(
  options: { onStep?: (point: string) => Promise<void>; stopTimeout?: number } = {},
): Promise<string[]> {
  const client = connect(daemon);
  const lines: string[] = [];
  const { stopTimeout = 20_000, ...rest } = options;
  try {
    await rollBack(client, requestFor("mary", { stopTimeout }), {
      progress: (line) => lines.push(line),
      ...rest,
    });
    return lines;
  } finally {
    await client.close();
  }
}

/** mary runs from her old pool as before the migration; what came after is kept whole beside her, stopped. */
async function expectBack({
  uuid,
  mac,
  address,
  before,
}: Awaited<ReturnType<typeof makeMigrated>>): Promise<void> {
  const aside = `mary-undone-${uuid.slice(0, 8)}`;
  const instances = await show(daemon);
  expect(instances.map(({ name, status }) => `${name} ${status}`).toSorted()).toEqual([
    "mary Running",
    `${aside} Stopped`,
  ]);
  const mary = await named("mary");
  expect(mary.expanded_devices["root"]?.["pool"]).toBe("default");
  expect(mary.config["volatile.eth0.hwaddr"]).toBe(mac);
  expect(mary.config["volatile.uuid"]).toBe(uuid);
  expect(mary.config["boot.autostart"]).toBe(before.config["boot.autostart"]);
  expect(mary.config["volatile.cloud-init.instance-id"]).toBe(
    before.config["volatile.cloud-init.instance-id"],
  );
  expect(Object.keys(mary.config).filter((key) => key.startsWith("user.taos"))).toEqual([]);
  expect(await daemon.ipv4("mary")).toBe(address);
  await expect(shell(daemon, "mary", "cat /srv/since")).rejects.toThrow();
  const kept = await named(aside);
  expect(kept.expanded_devices["root"]?.["pool"]).toBe("cow");
  expect(kept.config["boot.autostart"]).toBe("false");
  expect(kept.config["user.taos.migration"]).toBeUndefined();
  const files = await manifestsOf(daemon, "cow", aside, ["before"]);
  expect(files.get("")?.has("srv/since")).toBe(true);
  expect(
    differencesOf(
      new Map([["before", files.get("before") ?? new Map()]]),
      new Map([
        ["before", (await manifestsOf(daemon, "default", "mary", ["before"])).get("before") ?? new Map()],
      ]),
    ),
  ).toEqual([]);
}

describe("going back to the kept source", () => {
  it("puts everything back, keeps what was written since, and is quiet the second time", async () => {
    const mary = await makeMigrated();
    await undo();
    await expectBack(mary);
    expect(await undo()).toEqual([]);
  });

  it("works where the profile names the new pool by now, and she can move again", async () => {
    const mary = await makeMigrated();
    await daemon.incus("profile", "device", "set", "default", "root", "pool=cow");
    await undo();
    await expectBack(mary);
    await run(daemon, requestFor("mary"));
    expect((await named("mary")).expanded_devices["root"]?.["pool"]).toBe("cow");
    const client = connect(daemon);
    const removed = await removeParked(client, { project: "default", name: "mary" }, () => undefined);
    await client.close();
    const id = mary.uuid.slice(0, 8);
    expect(removed).toEqual([`mary-parked-${id}`, `mary-undone-${id}`]);
    expect((await show(daemon)).map(({ name, status }) => `${name} ${status}`)).toEqual(["mary Running"]);
  });

  it.each(pointsOn("back"))("killed at %s: the next run finishes", async (point) => {
    const mary = await makeMigrated();
    const said = await runAndDie(daemon, requestFor("mary"), point, "rollBack");
    expect(said).not.toMatch(/^ended$/m);
    await undo();
    await expectBack(mary);
  });

  it("killed before the stop and no longer wanted: nothing has happened", async () => {
    const mary = await makeMigrated();
    await runAndDie(daemon, requestFor("mary"), "before undoCopyName", "rollBack");
    const client = connect(daemon);
    await concludeWithdrawn(client, requestFor("mary"), { progress: () => undefined });
    await client.close();
    const now = await named("mary");
    expect(now).toMatchObject({ status: "Running" });
    expect(now.expanded_devices["root"]?.["pool"]).toBe("cow");
    expect(now.config["user.taos.migration"]).toBeUndefined();
    expect(await shell(daemon, "mary", "cat /srv/since")).toBe("since");
    const parked = await named(`mary-parked-${mary.uuid.slice(0, 8)}`);
    expect(parked.config["user.taos.migration"]).toBeUndefined();
    expect(parked.config["user.taos.parked"]).toBeDefined();
  });

  it("killed in the middle of the swap and no longer wanted: it is finished", async () => {
    const mary = await makeMigrated();
    await runAndDie(daemon, requestFor("mary"), "after undoCopyName", "rollBack");
    const client = connect(daemon);
    await concludeWithdrawn(client, requestFor("mary"), { progress: () => undefined });
    await client.close();
    await expectBack(mary);
  });

  it("is refused, with nothing changed, where it ignores the stop", async () => {
    const mary = await makeMigrated();
    await shell(daemon, "mary", "touch /etc/ignore-stop");
    await expect(undo({ stopTimeout: 2_000 })).rejects.toThrow(
      /^"mary" runs, on pool "cow"\.\n.*did not stop within 2 s/,
    );
    expect((await named("mary")).config["user.taos.migration"]).toBeUndefined();
    const parked = await named(`mary-parked-${mary.uuid.slice(0, 8)}`);
    expect(parked.config["user.taos.migration"]).toBeUndefined();
    expect(await shell(daemon, "mary", "cat /srv/since")).toBe("since");
  });

  it("is refused, with nothing changed, where another instance has the name", async () => {
    await makeMigrated();
    await daemon.incus("copy", "mary", "twin");
    await daemon.incus("stop", "--force", "mary");
    await daemon.incus("rename", "mary", "mary-new");
    await daemon.incus("rename", "twin", "mary");
    await expect(undo()).rejects.toThrow(/is not the instance that took over from it/);
    expect(await show(daemon)).toHaveLength(3);
  });
});
