import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { parkedName } from "../../../providers/marks/made-names.ts";
import type { IncusDaemon } from "../../testbed/daemon.ts";
import { until } from "../../testbed/deadline.ts";
import { manifest } from "../../testbed/manifest.ts";
import { changeSecretly, writeOddFiles } from "./odd-files.ts";
import {
  clear,
  differencesOf,
  makeContainer,
  manifestsOf,
  requestFor,
  run,
  type Shown,
  shell,
  show,
  startHost,
} from "./scene.ts";

let daemon: IncusDaemon;
beforeAll(async () => {
  daemon = await startHost("mig-lossless", "2GiB");
});
afterAll(async () => daemon?.remove());
afterEach(async () => {
  await clear(daemon);
  const volumes = await daemon.query<{ name: string; type: string }[]>(
    "/1.0/storage-pools/default/volumes?recursion=1",
  );
  for (const { name, type } of volumes)
    if (type === "custom") await daemon.incus("storage", "volume", "delete", "default", name);
});

async function find(name: string, project = "default"): Promise<Shown> {
  const found = (await show(daemon, project)).find((instance) => instance.name === name);
  if (!found) throw new Error(`no instance ${name}`);
  return found;
}

/** Identity and settings that a move must keep; what Incus makes anew at each start is left out. */
function settingsOf({ config, devices, profiles, description }: Shown): object {
  const keys = Object.keys(config).filter((key) => !/^user\.taos\.|\.host_name$|\.last_state\./.test(key));
  const { root: _root, ...others } = devices;
  return {
    config: Object.fromEntries(keys.map((key) => [key, config[key]])),
    devices: others,
    profiles,
    description,
  };
}

const snapshotsOf = ({ snapshots }: Shown): object[] =>
  (snapshots ?? []).map(({ name, created_at, expires_at, config }) => ({
    name,
    created_at,
    expires_at,
    config,
  }));

it("moves a busy container with everything it has, and touches no other", { timeout: 120_000 }, async () => {
  for (const name of ["naira", "stanley"]) await daemon.incus("launch", "bb", name);
  await makeContainer(daemon, "mary");
  const root = daemon.rootfs("default", "mary");
  await writeOddFiles(root, "odd");
  await changeSecretly(join(root, "srv/setuid"), "#!/bin/SH\n");
  await daemon.incus("snapshot", "create", "mary", "odd");
  await daemon.incus("storage", "volume", "create", "default", "memory");
  await daemon.incus(
    "config",
    "device",
    "add",
    "mary",
    "memory",
    "disk",
    "pool=default",
    "source=memory",
    "path=/memory",
  );
  for (const port of ["7001", "7002"]) {
    await daemon.incus(
      "config",
      "device",
      "add",
      "mary",
      `proxy-${port}`,
      "proxy",
      `listen=tcp:127.0.0.1:${port}`,
      "connect=tcp:127.0.0.1:80",
    );
  }
  const settings = [
    "limits.memory=128MiB",
    "environment.TOKEN=secret",
    "boot.autostart=true",
    "boot.autostart.priority=7",
  ];
  const more = [
    "snapshots.expiry=2d",
    "snapshots.schedule=@monthly",
    "security.protection.delete=true",
    "user.note=kept",
  ];
  await daemon.incus("config", "set", "mary", ...settings, ...more, "cloud-init.user-data=#cloud-config");
  await daemon.incusWithInput(
    JSON.stringify({ description: "the agent" }),
    "query",
    "-X",
    "PATCH",
    "-d",
    '{"description":"the agent"}',
    "/1.0/instances/mary",
  );
  await daemon.incus("snapshot", "create", "mary", "last");
  await shell(
    daemon,
    "mary",
    "rm -r /odd/empty; echo new >/odd/new; mkdir /gone; ln /odd/owned /odd/owned-too",
  );
  // Appends to a log and rewrites a record in place, each acknowledged only when it is on disk, until the stop; the
  // acknowledgement is renamed into place, since the stop may fall between its truncation and its content.
  const writer = [
    "#!/bin/sh",
    "while :; do n=$((n+1)); echo line $n >>/srv/log",
    "printf %08d $n | dd of=/srv/database bs=8 conv=notrunc,fsync 2>/dev/null; echo $n >/srv/new; mv /srv/new /srv/acknowledged; usleep 20000; done",
  ].join("\n");
  await writeFile(join(root, "etc/rc.local"), `${writer}\n`, { mode: 0o755 });
  await daemon.incus("restart", "mary");
  const address = await daemon.ipv4("mary");
  await until(
    async () => Number(await readFile(join(root, "srv/acknowledged"), "utf8").catch(() => "0")) > 20,
    { what: "the writer" },
  );

  const before = await find("mary");
  const others = async (): Promise<unknown> =>
    Promise.all(
      ["naira", "stanley"].map(async (name) => [
        await daemon.query(`/1.0/instances/${name}`),
        (await daemon.query<{ pid: number }>(`/1.0/instances/${name}/state`)).pid,
        await manifest(daemon.rootfs("default", name)),
      ]),
    );
  const othersBefore = await others();
  const copy = `mary-copy-${before.config["volatile.uuid"]?.slice(0, 8)}`;
  const names = ["before", "odd", "last"];
  let compared = 0;
  await run(daemon, requestFor("mary"), {
    onStep: async (point) => {
      if (point === "round 1") {
        // Changes that neither size nor date tell, and files that come and go meanwhile.
        await changeSecretly(join(root, "srv/old"), "MEMORY\nmore\n");
        await shell(daemon, "mary", "rm -r /gone; echo late >/srv/late");
      }
      if (point !== "after stopped") return;
      expect(
        differencesOf(
          await manifestsOf(daemon, "default", "mary", names),
          await manifestsOf(daemon, "cow", copy, names),
        ),
      ).toEqual([]);
      compared += 1;
    },
  });
  expect(compared).toBe(1);

  const mary = await find("mary");
  expect(settingsOf(mary)).toEqual(settingsOf(before));
  expect(snapshotsOf(mary)).toEqual(snapshotsOf(before).map((snapshot) => snapshot));
  expect(mary.expanded_devices["root"]).toEqual({ ...before.expanded_devices["root"], pool: "cow" });
  expect(mary.devices["root"]?.["pool"]).toBe("cow");
  expect(await daemon.ipv4("mary")).toBe(address);
  const moved = daemon.rootfs("cow", "mary");
  expect(await readFile(join(moved, "etc/template-stamp"), "utf8")).toBe("create mary\n");
  expect(await readFile(join(moved, "srv/old"), "utf8")).toBe("MEMORY\nmore\n");
  expect((await stat(join(moved, "odd/sparse"))).blocks).toBeLessThan(2048);

  const parked = daemon.rootfs("default", parkedName("mary", before.config["volatile.uuid"] ?? ""));
  const last = Number(await readFile(join(parked, "srv/acknowledged"), "utf8"));
  const log = await readFile(join(parked, "srv/log"), "utf8");
  expect(log).toContain(`line ${last}\n`);
  expect((await readFile(join(moved, "srv/log"), "utf8")).startsWith(log)).toBe(true);
  expect(await others()).toEqual(othersBefore);
  expect(
    (await daemon.query<{ used_by: string[] }>("/1.0/storage-pools/default/volumes/custom/memory")).used_by,
  ).toContain("/1.0/instances/mary");
});

it("carries a snapshot that is made at the last moment", async () => {
  await makeContainer(daemon, "mary");
  let made = false;
  const copied: string[][] = [];
  await run(daemon, requestFor("mary"), {
    onStep: async (point) => {
      if (point === "after seeded" && !made) {
        made = true;
        await shell(daemon, "mary", "ln /srv/busybox /srv/busybox-too");
        await daemon.incus("snapshot", "create", "mary", "late");
        await daemon.incus("snapshot", "delete", "mary", "before");
      }
      if (point !== "after stopped") return;
      const copy = (await show(daemon)).find(({ name }) => name.includes("-copy-"))?.name ?? "";
      copied.push(
        differencesOf(
          await manifestsOf(daemon, "default", "mary", ["late"]),
          await manifestsOf(daemon, "cow", copy, ["late"]),
        ),
      );
    },
  });
  expect(copied).toEqual([[]]);
  expect((await find("mary")).snapshots?.map(({ name }) => name)).toEqual(["late"]);
});

it("keeps a stopped container stopped, with a pending template and no address", async () => {
  await daemon.incus("create", "bb", "mary");
  const before = await find("mary");
  await run(daemon, requestFor("mary"));
  const mary = await find("mary");
  expect(mary.status).toBe("Stopped");
  expect(settingsOf(mary)).toEqual(settingsOf(before));
  expect(mary.config["volatile.apply_template"]).toBe("create");
});

it("moves a container of another project with profiles, a static address and mapped owners of its own", async () => {
  await daemon.incus("project", "create", "user-1000", "-c", "features.images=false");
  const profile = ["--project=user-1000", "device", "add"];
  await daemon.incus(
    "profile",
    ...profile,
    "default",
    "root",
    "disk",
    "path=/",
    "pool=default",
    "size=500MiB",
  );
  await daemon.incus("profile", ...profile, "default", "eth0", "nic", "network=incusbr0");
  const address = `${((await daemon.query<{ config: Record<string, string> }>("/1.0/networks/incusbr0")).config["ipv4.address"] ?? "").split(".").slice(0, 3).join(".")}.77`;
  await daemon.incus(
    "create",
    "bb",
    "stanley",
    "--project=user-1000",
    "-c",
    "raw.idmap=both 1000 1000",
    "-c",
    "security.idmap.isolated=true",
  );
  await daemon.incus(
    "config",
    "device",
    "override",
    "stanley",
    "eth0",
    `ipv4.address=${address}`,
    "--project=user-1000",
  );
  await daemon
    .incus(
      "config",
      "device",
      "add",
      "stanley",
      "web",
      "proxy",
      "nat=true",
      "listen=tcp:127.0.0.1:7080",
      `connect=tcp:${address}:80`,
      "--project=user-1000",
    )
    .catch(() => undefined);
  await daemon.incus("start", "stanley", "--project=user-1000");
  const addressOf = async (): Promise<boolean> =>
    (await daemon.incus("list", "--project=user-1000", "--format=csv", "-c4")).includes(address);
  await until(addressOf, { what: "its address" });
  const before = await find("stanley", "user-1000");
  await run(daemon, requestFor("stanley", { project: "user-1000" }));
  const stanley = await find("stanley", "user-1000");
  // Incus gives every isolated container a map of its own, and the parked source keeps the old one.
  const withoutMap = (instance: Shown): object =>
    settingsOf({
      ...instance,
      config: Object.fromEntries(
        Object.entries(instance.config).filter(([key]) => !key.startsWith("volatile.idmap.")),
      ),
    });
  expect(withoutMap(stanley)).toEqual(withoutMap(before));
  expect(stanley.expanded_devices["root"]).toEqual({ type: "disk", path: "/", pool: "cow", size: "500MiB" });
  expect(await addressOf()).toBe(true);
});

it("moves back to the dir pool once the parked source is gone", async () => {
  await makeContainer(daemon, "mary");
  await run(daemon, requestFor("mary"));
  await expect(run(daemon, requestFor("mary", { target: "default" }))).rejects.toThrow(
    /parked copy .* still exists.*removeParked/,
  );
  const parked = (await show(daemon)).find(({ name }) => name.includes("-parked-"))?.name ?? "";
  await daemon.incus("delete", parked);
  const compared: string[][] = [];
  await run(daemon, requestFor("mary", { target: "default" }), {
    onStep: async (point) => {
      if (point !== "after stopped") return;
      const copy = (await show(daemon)).find(({ name }) => name.includes("-copy-"))?.name ?? "";
      compared.push(
        differencesOf(
          await manifestsOf(daemon, "cow", "mary", ["before"]),
          await manifestsOf(daemon, "default", copy, ["before"]),
        ),
      );
    },
  });
  expect(compared).toEqual([[]]);
  expect((await find("mary")).expanded_devices["root"]?.["pool"]).toBe("default");
});

it("moves from one btrfs pool to another", async () => {
  await daemon.incus("storage", "create", "cow2", "btrfs", "size=1GiB");
  await makeContainer(daemon, "mary");
  await run(daemon, requestFor("mary"));
  const parked = (await show(daemon)).find(({ name }) => name.includes("-parked-"))?.name ?? "";
  await daemon.incus("delete", parked);
  const compared: string[][] = [];
  await run(daemon, requestFor("mary", { target: "cow2" }), {
    onStep: async (point) => {
      if (point !== "after stopped") return;
      const copy = (await show(daemon)).find(({ name }) => name.includes("-copy-"))?.name ?? "";
      compared.push(
        differencesOf(
          await manifestsOf(daemon, "cow", "mary", ["before"]),
          await manifestsOf(daemon, "cow2", copy, ["before"]),
        ),
      );
    },
  });
  expect(compared).toEqual([[]]);
});

it("moves a container whose image is gone", async () => {
  await makeContainer(daemon, "mary");
  await daemon.incus("image", "alias", "rename", "bb", "away");
  const [{ fingerprint = "" } = {}] =
    await daemon.query<{ fingerprint?: string }[]>("/1.0/images?recursion=1");
  const file = join(daemon.dataDir, "image");
  await daemon.incus("image", "export", fingerprint, file);
  await daemon.incus("image", "delete", fingerprint);
  const compared: string[][] = [];
  await run(daemon, requestFor("mary"), {
    onStep: async (point) => {
      if (point !== "after stopped") return;
      const copy = (await show(daemon)).find(({ name }) => name.includes("-copy-"))?.name ?? "";
      const source = await manifestsOf(daemon, "default", "mary", ["before"]);
      compared.push(differencesOf(source, await manifestsOf(daemon, "cow", copy, ["before"])));
    },
  });
  expect(compared).toEqual([[]]);
  expect((await find("mary")).status).toBe("Running");
});
