import { mkdir, mkdtemp, rm, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { rollBack } from "../../../providers/migration/engine.ts";
import type { IncusDaemon } from "../../testbed/daemon.ts";
import { clear, connect, requestFor, run, runAndDie, type Shown, show, startHost } from "./scene.ts";

/** Projects that forbid `volatile.uuid`, each by another setting. */
const STRICT = { limited: "limits.containers=20", restricted: "restricted=true" };
const ALLOW = "restricted.containers.lowlevel";

let daemon: IncusDaemon;
beforeAll(async () => {
  daemon = await startHost("mig-projects");
  for (const project of ["limited", "restricted", "memory"]) {
    await daemon.incus("project", "create", project, "-c", "features.images=false");
    for (const device of [
      ["root", "disk", "path=/", "pool=default"],
      ["eth0", "nic", "network=incusbr0"],
    ])
      await daemon.incus("profile", "device", "add", "default", ...device, `--project=${project}`);
  }
});
afterAll(async () => daemon?.remove());
afterEach(async () => {
  await clear(daemon);
  for (const project of ["limited", "restricted", "memory"]) {
    for (const key of [ALLOW, "limits.containers", "limits.memory", "restricted"])
      await daemon.incus("project", "unset", project, key);
  }
});

async function launch(project: string, ...flags: string[]): Promise<Shown> {
  await daemon.incus("launch", "bb", "mary", `--project=${project}`, ...flags);
  return maryOf(project);
}

async function maryOf(project: string): Promise<Shown> {
  const found = (await show(daemon, project)).find(({ name }) => name === "mary");
  if (!found) throw new Error("mary is gone");
  return found;
}

/** Settings but for what Incus makes anew at each start. */
function settingsOf({ config, devices, profiles }: Shown): object {
  const kept = Object.entries(config).filter(([key]) => !/\.host_name$|last_state\./.test(key));
  return { config: Object.fromEntries(kept), devices, profiles };
}

describe.each(Object.keys(STRICT) as (keyof typeof STRICT)[])("a %s project", (project) => {
  it("is refused before anything is written, and the advice, followed to the letter, heals it", async () => {
    await daemon.incus("project", "set", project, STRICT[project]);
    const before = await launch(project);
    const request = requestFor("mary", { project });
    const refusal = await run(daemon, request).catch((error: unknown) => String(error));
    expect(refusal).toMatch(/Refusing to migrate "mary": its project .* forbids volatile.uuid/);
    expect(await show(daemon, project)).toMatchObject([{ name: "mary", status: "Running" }]);
    expect(settingsOf(await maryOf(project))).toEqual(settingsOf(before));

    const [, advice = ""] = /Allow it: incus (project set \S+ \S+)/.exec(String(refusal)) ?? [];
    await daemon.incus(...advice.split(" "));
    await run(daemon, request);
    const moved = await maryOf(project);
    expect(moved.status).toBe("Running");
    expect(moved.expanded_devices["root"]?.["pool"]).toBe("cow");
    for (const key of ["volatile.uuid", "volatile.eth0.hwaddr"])
      expect(moved.config[key]).toBe(before.config[key]);
  });

  it.each([
    "after seeded",
    "after stopped",
    "after verified",
    "after parking",
    "after parked",
    "settings written",
  ])("that is made strict %s: she ends running as she was", async (point) => {
    const before = await launch(project);
    const onStep = async (at: string): Promise<void> => {
      if (at === point) await daemon.incus("project", "set", project, STRICT[project]);
    };
    const outcome = await run(daemon, requestFor("mary", { project }), { onStep }).then(
      () => "moved",
      (error: unknown) => (error as Error).message,
    );
    expect(outcome.split("\n")[0]).toBe('"mary" runs, on pool "default".');
    expect(outcome).toMatch(/forbidden.*Everything was undone/s);
    const after = await maryOf(project);
    expect(after.status).toBe("Running");
    const ids = /cloud-init\.instance-id/;
    const known = (shown: Shown): object =>
      settingsOf({
        ...shown,
        config: Object.fromEntries(Object.entries(shown.config).filter(([key]) => !ids.test(key))),
      });
    expect(known(after)).toEqual(known(before));
    expect(await show(daemon, project)).toHaveLength(1);
  });
});

it("that is made strict after a kill in the middle of the swap: she ends running as she was", async () => {
  const before = await launch("limited");
  await runAndDie(daemon, requestFor("mary", { project: "limited" }), "after parking");
  await daemon.incus("project", "set", "limited", STRICT.limited);
  await expect(run(daemon, requestFor("mary", { project: "limited" }))).rejects.toThrow(/^"mary" runs/);
  const after = await maryOf("limited");
  expect(after.status).toBe("Running");
  expect(after.config["volatile.eth0.hwaddr"]).toBe(before.config["volatile.eth0.hwaddr"]);
});

describe("a project with limits that count", () => {
  it("gets no second container where there is no room for one", async () => {
    await daemon.incus("project", "set", "limited", "limits.containers=1", `${ALLOW}=allow`);
    await launch("limited");
    await expect(run(daemon, requestFor("mary", { project: "limited" }))).rejects.toThrow(
      /limits.containers is 1, 1 are in use, 1 more are needed.*incus project set limited limits.containers/,
    );
    expect(await show(daemon, "limited")).toMatchObject([{ name: "mary", status: "Running" }]);
  });

  it("counts the copy from its first moment on, not only once the source is stopped", async () => {
    await daemon.incus("project", "set", "memory", "limits.memory=250MiB", `${ALLOW}=allow`);
    await launch("memory", "--config", "limits.memory=100MiB");
    await run(daemon, requestFor("mary", { project: "memory" }));
    const moved = await maryOf("memory");
    expect(moved).toMatchObject({ status: "Running", config: { "limits.memory": "100MiB" } });
    expect(moved.expanded_devices["root"]?.["pool"]).toBe("cow");
    await daemon.incus("launch", "bb", "naira", "--project=memory", "--config", "limits.memory=50MiB");
    await expect(run(daemon, requestFor("naira", { project: "memory" }))).rejects.toThrow(
      /limits.memory is 250(.0)? MiB, 250(.0)? MiB are in use, 50(.0)? MiB more are needed/,
    );
  });
});

describe("a container that Incus would not start again beside another one", () => {
  /** What a person does beside running mary, which Incus accepts, and what is said of it. */
  const BESIDE: Record<string, { make: (mary: Shown) => Promise<unknown>; said: RegExp }> = {
    "of its name in another project": {
      make: () => daemon.incus("create", "bb", "mary", "--project=limited"),
      said: /mary of project limited has the same name on network incusbr0.*incus rename mary NEW --project limited/,
    },
    "with its fixed address": {
      make: async () => {
        const address = await daemon.ipv4("mary");
        await daemon.incus("config", "device", "override", "mary", "eth0", `ipv4.address=${address}`);
        return daemon.incus("copy", "mary", "naira");
      },
      said: /naira has the same address [0-9.]+ on network incusbr0/,
    },
    "with its MAC address": {
      make: ({ config }) =>
        daemon.incus("create", "bb", "naira", "--device", `eth0,hwaddr=${config["volatile.eth0.hwaddr"]}`),
      said: /naira has the same MAC address [0-9a-f:]+ on network incusbr0/,
    },
  };

  it.each(Object.keys(BESIDE))("%s: refused while it runs", async (key) => {
    const { make, said } = BESIDE[key] ?? { make: async () => undefined, said: /^$/ };
    const before = await launch("default");
    await make(before);
    await expect(run(daemon, requestFor("mary"))).rejects.toThrow(said);
    const after = (await show(daemon)).filter(({ name }) => name.startsWith("mary"));
    expect(after).toMatchObject([{ name: "mary", status: "Running" }]);
  });

  it("is not put back on its kept source either, until the other one is renamed", async () => {
    await launch("default");
    await run(daemon, requestFor("mary"));
    await daemon.incus("create", "bb", "mary", "--project=limited");
    const client = connect(daemon);
    const undo = (): Promise<unknown> => rollBack(client, requestFor("mary"), { progress: () => undefined });
    await expect(undo()).rejects.toThrow(/Refusing to put "mary" back.*has the same name/);
    expect(await maryOf("default")).toMatchObject({ status: "Running" });
    await daemon.incus("rename", "mary", "marion", "--project=limited");
    await undo();
    await client.close();
    const mary = await maryOf("default");
    expect(mary.status).toBe("Running");
    expect(mary.expanded_devices["root"]?.["pool"]).toBe("default");
  });
});

describe("a running container that needs something of the host that is gone", () => {
  /** Gives mary a device and takes away what it needs; `bring` brings that back. */
  const GONE: Record<string, { take: (path: string) => Promise<() => Promise<unknown>>; said: RegExp }> = {
    "a directory": {
      take: async (path) => {
        await mkdir(path);
        await daemon.incus("config", "device", "add", "mary", "data", "disk", `source=${path}`, "path=/data");
        await rmdir(path);
        return () => mkdir(path);
      },
      said: /needed \(device data\) is not to be had on the host.*incus config device remove mary data/,
    },
    "a device node": {
      take: async () => {
        const path = "/dev/taos-needed";
        const node = (): Promise<unknown> => execa("mknod", [path, "c", "1", "3"]);
        await node();
        await daemon.incus(
          "config",
          "device",
          "add",
          "mary",
          "tty",
          "unix-char",
          `source=${path}`,
          "path=/dev/x",
        );
        await rm(path);
        return node;
      },
      said: /needed \(device tty\) is not to be had on the host/,
    },
    "a network interface": {
      take: async () => {
        const link = (...args: string[]): Promise<unknown> => daemon.inNetwork("ip", "link", ...args);
        await link("add", "taosgone0", "type", "bridge");
        const nic = ["nic", "nictype=bridged", "parent=taosgone0", "name=eth1"];
        await daemon.incus("config", "device", "add", "mary", "lan", ...nic);
        await link("delete", "taosgone0");
        return () => link("add", "taosgone0", "type", "bridge");
      },
      said: /interface taosgone0 \(device lan\) is not to be had on the host/,
    },
  };

  it.each(Object.keys(GONE))("%s: refused while it runs, and moved once that is back", async (key) => {
    const { take, said } = GONE[key] ?? { take: async () => async () => undefined, said: /^$/ };
    await launch("default");
    const directory = await mkdtemp(join(tmpdir(), "taos-gone-"));
    const bringBack = await take(join(directory, "needed"));
    await expect(run(daemon, requestFor("mary"))).rejects.toThrow(said);
    expect(await show(daemon)).toMatchObject([{ name: "mary", status: "Running" }]);
    await bringBack();
    await run(daemon, requestFor("mary"));
    const moved = await maryOf("default");
    expect(moved).toMatchObject({ status: "Running" });
    expect(moved.expanded_devices["root"]?.["pool"]).toBe("cow");
    await rm(directory, { recursive: true });
    await rm("/dev/taos-needed", { force: true });
  });
});
