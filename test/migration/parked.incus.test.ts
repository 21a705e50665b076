import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { changesOf, createStack, errorsOf, type HostsConfig, type TestStack } from "../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { recordEvents } from "../testbed/events.ts";
import { diffManifests, manifest } from "../testbed/manifest.ts";
import {
  instanceOf,
  keptOf,
  lostIn,
  makeContainer,
  occupied,
  parkedOf,
  placesOf,
  rootOf,
  type Shown,
  setUpDirHost,
  shell,
  twin,
} from "./scene.ts";

let d: IncusDaemon;
let stack: TestStack;
let before: Shown;

beforeAll(async () => {
  d = await startDaemon({ name: "mig-parked" });
});
afterAll(() => d?.remove());
beforeEach(async () => {
  await d.reset();
  await setUpDirHost(d);
  await d.incus("launch", "bb", "naira");
  await makeContainer(d, "mary", { flags: ["-c", "boot.autostart=true"] });
  await d.ipv4("mary");
  before = await instanceOf(d, "mary");
  stack = await createStack({ name: "parked", hosts: await hosts({ migrate: ["mary"] }) });
  const up = await stack.up();
  expect(errorsOf(up)).toBe("");
});
afterEach(() => stack?.remove());

async function hosts(optIn: Record<string, string[]>, pool?: string): Promise<HostsConfig> {
  return twin(d, { containers: { mary: pool === undefined ? {} : { pool }, naira: {} }, optIn });
}

describe("a parked source", () => {
  it("survives destroy and a restart of the daemon without starting", { timeout: 150_000 }, async () => {
    const mary = await instanceOf(d, "mary");
    const parked = await instanceOf(d, parkedOf(mary));
    const files = await manifest(rootOf(d, "default", parked));
    const places = ["mary Running default-cow", `${parked.name} Stopped default`, "naira Running default"];
    expect(await placesOf(d)).toEqual(places);
    const { naira } = { naira: await instanceOf(d, "naira") };
    const destroy = await stack.destroy();
    expect(errorsOf(destroy)).toBe("");
    expect(await placesOf(d)).toEqual(places);
    await d.restart();
    expect(await placesOf(d)).toEqual(places);
    expect((await instanceOf(d, "mary")).state.pid).toBe(mary.state.pid);
    expect((await instanceOf(d, "naira")).state.pid).toBe(naira.state.pid);
    // As after a reboot: everything that had run is started again, the parked source is not.
    for (const name of ["mary", "naira"]) await d.incus("stop", "--force", name);
    await d.restart();
    expect((await instanceOf(d, parked.name)).status).toBe("Stopped");
    expect((await instanceOf(d, "mary")).status).toBe("Running");
    expect(diffManifests(files, await manifest(rootOf(d, "default", parked)))).toEqual([]);
  });

  it("is deleted by removeParked, which frees its space and nothing else", { timeout: 150_000 }, async () => {
    const mary = await instanceOf(d, "mary");
    const parked = parkedOf(mary);
    const naira = await instanceOf(d, "naira");
    const pool = `${d.dir}/storage-pools/default`;
    const usedBefore = await occupied(pool);
    const size = await occupied(
      rootOf(d, "default", await instanceOf(d, parked)),
      rootOf(d, "default", await instanceOf(d, parked), "monday"),
    );
    await stack.setHosts(await hosts({ migrate: ["mary"], removeParked: ["mary"] }));
    const preview = await stack.preview();
    expect(preview.output).toContain(`container ${parked}: remove-parked`);
    const record = await recordEvents(d);
    const up = await stack.up();
    await record.stop();
    expect(errorsOf(up)).toBe("");
    expect(await placesOf(d)).toEqual(["mary Running default-cow", "naira Running default"]);
    expect(Math.abs(usedBefore - (await occupied(pool)) - size)).toBeLessThan(64 * 1024);
    expect(record.lifecycle().filter((line) => /deleted/.test(line) && !line.includes(parked))).toEqual([]);
    expect((await instanceOf(d, "mary")).state.pid).toBe(mary.state.pid);
    expect((await instanceOf(d, "naira")).state.pid).toBe(naira.state.pid);
    expect(changesOf(await stack.up())).toEqual([]);
  });
});

describe("optIn.undo", () => {
  it("goes back to the parked source, as preview says, and is quiet afterwards", {
    timeout: 150_000,
  }, async () => {
    const moved = await instanceOf(d, "mary");
    await shell(d, "mary", "echo later >/srv/later");
    const parked = await manifest(rootOf(d, "default", await instanceOf(d, parkedOf(moved))));
    await stack.setHosts(await hosts({ migrate: [], undo: ["mary"] }));
    const preview = await stack.preview();
    const aside = parkedOf(moved).replace("parked", "undone");
    const said = preview.output.replaceAll(/\s+/g, " ");
    expect(said).toContain(`container mary: undo-migration: goes back to its source of 20`);
    expect(said).toMatch(new RegExp(`what was written since \\(\\d+ files?, [^)]+\\) is kept as ${aside}`));
    const up = await stack.up();
    expect(errorsOf(up)).toBe("");
    expect(await placesOf(d)).toEqual([
      "mary Running default",
      `${aside} Stopped default-cow`,
      "naira Running default",
    ]);
    const mary = await instanceOf(d, "mary");
    expect(keptOf(mary)).toEqual(keptOf(before));
    const ignore = (path: string): boolean => /^(dev|etc\/resolv\.conf)/.test(path);
    expect(diffManifests(parked, await manifest(rootOf(d, "default", mary)), { ignore })).toEqual([]);
    expect((await manifest(rootOf(d, "default-cow", await instanceOf(d, aside)))).has("srv/later")).toBe(
      true,
    );
    expect(changesOf(await stack.up())).toEqual([]);
  });
});

describe("moving back", () => {
  it("to the dir pool, once the parked source is gone", { timeout: 150_000 }, async () => {
    await stack.setHosts(await hosts({ migrate: ["mary"], removeParked: ["mary"] }, "default"));
    await shell(d, "mary", "echo later >>/srv/notes; ln /srv/notes /srv/later");
    const up = await stack.up();
    expect(errorsOf(up)).toBe("");
    const mary = await instanceOf(d, "mary");
    const parked = await instanceOf(d, parkedOf(mary));
    expect(await placesOf(d)).toEqual([
      "mary Running default",
      `${parked.name} Stopped default-cow`,
      "naira Running default",
    ]);
    expect(await lostIn(d, parked, mary)).toEqual([]);
    expect(keptOf(mary)).toEqual(keptOf(before));
    expect(await shell(d, "mary", "cat /srv/later")).toBe("memory\nmonday\nlater");
  });

  it("to another btrfs pool", { timeout: 150_000 }, async () => {
    await d.incus("storage", "create", "nvme", "btrfs", "size=1GiB");
    await stack.setHosts(await hosts({ migrate: ["mary"], removeParked: ["mary"] }, "nvme"));
    const up = await stack.up();
    expect(errorsOf(up)).toBe("");
    const mary = await instanceOf(d, "mary");
    const parked = await instanceOf(d, parkedOf(mary));
    expect(await placesOf(d)).toEqual([
      "mary Running nvme",
      `${parked.name} Stopped default-cow`,
      "naira Running default",
    ]);
    expect(await lostIn(d, parked, mary)).toEqual([]);
    expect(keptOf(mary)).toEqual(keptOf(before));
  });
});
