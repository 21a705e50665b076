import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { StateOn } from "../../../providers/migration/states.ts";
import type { IncusDaemon } from "../../testbed/daemon.ts";
import { type FaultyProxy, startProxy } from "../../testbed/faulty-proxy.ts";
import type { Manifest } from "../../testbed/manifest.ts";
import { pointsOn, statesOn } from "./points.ts";
import {
  clear,
  differencesOf,
  makeContainer,
  manifestsOf,
  requestFor,
  run,
  runAndDie,
  show,
  startHost,
} from "./scene.ts";

/** Every state that a migration passes through, and what lies between them. */
const POINTS = pointsOn("there");

let daemon: IncusDaemon;
let proxy: FaultyProxy;
beforeAll(async () => {
  daemon = await startHost("mig-interrupt");
  proxy = await startProxy(daemon);
});
afterAll(async () => {
  await proxy?.close();
  await daemon?.remove();
});
afterEach(() => clear(daemon));

/** What mary was before: identity and content. */
type Before = { uuid: string; mac: string; address: string; snapshot: Map<string, Manifest> };

async function makeMary(): Promise<Before> {
  await makeContainer(daemon, "mary");
  const [mary] = await show(daemon);
  return {
    uuid: mary?.config["volatile.uuid"] ?? "",
    mac: mary?.config["volatile.eth0.hwaddr"] ?? "",
    address: await daemon.ipv4("mary"),
    snapshot: await manifestsOf(daemon, "default", "mary", ["before"]),
  };
}

/** mary runs from the new pool as herself, nothing is left over but the parked source, and both hold the same. */
async function expectMoved(before: Before): Promise<void> {
  const instances = await show(daemon);
  const [mary, parked, ...others] = instances.toSorted((a, b) => a.name.localeCompare(b.name));
  expect(others).toEqual([]);
  expect(mary).toMatchObject({ name: "mary", status: "Running", profiles: ["default"] });
  expect(mary?.expanded_devices["root"]?.["pool"]).toBe("cow");
  expect(mary?.config["volatile.uuid"]).toBe(before.uuid);
  expect(mary?.config["volatile.eth0.hwaddr"]).toBe(before.mac);
  expect(await daemon.ipv4("mary")).toBe(before.address);
  expect(parked).toMatchObject({ name: `mary-parked-${before.uuid.slice(0, 8)}`, status: "Stopped" });
  expect(parked?.config["boot.autostart"]).toBe("false");
  for (const instance of [mary, parked]) {
    expect(
      Object.keys(instance?.config ?? {}).filter((key) => /^user\.taos\.(migration|lease)$/.test(key)),
    ).toEqual([]);
  }
  const kept = await manifestsOf(daemon, "default", parked?.name ?? "", ["before"]);
  expect(differencesOf(before.snapshot, kept)).toEqual([]);
  expect(differencesOf(kept, await manifestsOf(daemon, "cow", "mary", ["before"]))).toEqual([]);
}

describe("a killed provider", () => {
  it.each(POINTS)("at %s: the next run finishes", async (point) => {
    const before = await makeMary();
    const said = await runAndDie(daemon, requestFor("mary"), point);
    expect(said).not.toMatch(/^ended$/m);
    const { lines } = await run(daemon, requestFor("mary"));
    expect(lines.join("\n")).toMatch(/resuming an interrupted migration: /);
    await expectMoved(before);
  });
});

/** What leads to each state beside the way, with the run killed there and after it. */
const ASIDE: Record<StateOn<"aside">, () => Promise<void>> = {
  seeding: async () => {
    await runAndDie(daemon, requestFor("mary"), "clone created");
  },
  orphanedCopy: async () => {
    await runAndDie(daemon, requestFor("mary"), "after verified");
    await daemon.incus("snapshot", "restore", "mary", "before");
  },
  copyLost: async () => {
    await runAndDie(daemon, requestFor("mary"), "after verified");
    const copy = (await show(daemon)).find(({ name }) => name.startsWith("mary-copy"));
    await daemon.incus("delete", copy?.name ?? "");
  },
  restored: async () => {
    await runAndDie(daemon, requestFor("mary"), "after seeded");
    await daemon.incus("snapshot", "create", "mary", "mid");
    await daemon.incus("snapshot", "restore", "mary", "mid");
  },
};

describe("a provider killed beside the way", () => {
  const points = statesOn("aside").flatMap((state) =>
    (["before", "after"] as const).map((when) => ({ state, when })),
  );
  it.each(points)("$when $state: the next run finishes", async ({ state, when }) => {
    await makeMary();
    await ASIDE[state]();
    const said = await runAndDie(daemon, requestFor("mary"), `${when} ${state}`);
    expect(said).not.toMatch(/^ended$/m);
    await run(daemon, requestFor("mary"));
    const instances = await show(daemon);
    const mary = instances.find(({ name }) => name === "mary");
    expect(instances).toHaveLength(2);
    expect(mary).toMatchObject({ status: "Running" });
    expect(mary?.expanded_devices["root"]?.["pool"]).toBe("cow");
    const marks = instances.flatMap(({ config }) => Object.keys(config));
    expect(marks.filter((key) => /^user\.taos\.(migration|lease)$/.test(key))).toEqual([]);
  });
});

describe("a killed incusd", () => {
  it.each(POINTS)("at %s: the run goes on once it is back", async (point) => {
    const before = await makeMary();
    let struck = 0;
    const onStep = async (reached: string): Promise<void> => {
      if (reached !== point || ++struck > 1) return;
      await daemon.kill();
      await daemon.start();
    };
    await run(daemon, requestFor("mary"), { onStep });
    expect(struck).toBeGreaterThan(0);
    await expectMoved(before);
  });
});

describe("a lost connection", () => {
  it.each(POINTS)("after %s, with the answer to the next write lost: the run goes on", async (point) => {
    const before = await makeMary();
    let struck = 0;
    const onStep = async (reached: string): Promise<void> => {
      if (reached !== point || ++struck > 1) return;
      proxy.cutAll();
      proxy.failNext(/^(POST|PUT|PATCH|DELETE) /, "cut-after");
    };
    await run(daemon, requestFor("mary"), { onStep, socketPath: proxy.socketPath });
    expect(struck).toBeGreaterThan(0);
    await expectMoved(before);
  });
});

describe("provider and incusd killed together", () => {
  it.each(POINTS)("at %s: the next run finishes", async (point) => {
    const before = await makeMary();
    await runAndDie(daemon, requestFor("mary"), point);
    await daemon.kill();
    await daemon.start();
    await run(daemon, requestFor("mary"));
    await expectMoved(before);
  });
});
