import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { park, unpark } from "../../../providers/parking/parked.ts";
import { instancePlacement } from "../../../providers/placement/instance-placement.ts";
import type { IncusDaemon } from "../../testbed/daemon.ts";
import { recordEvents } from "../../testbed/events.ts";
import {
  clear,
  connect,
  differencesOf,
  makeContainer,
  manifestsOf,
  requestFor,
  runAndDie,
  shell,
  show,
  startHost,
} from "../migration/scene.ts";

let daemon: IncusDaemon;
beforeAll(async () => {
  daemon = await startHost("placement", "2GiB");
});
afterAll(async () => daemon?.remove());
afterEach(() => clear(daemon));

interface Outs {
  pool: string;
  parked: string[];
  inheritsRoot: boolean;
  unfinished?: string;
}

function argsFor(name: string, change: Record<string, unknown> = {}): Record<string, unknown> {
  const host = { name: "host", connection: `unix:${daemon.socketPath}` };
  return { host, owner: `project/stack/host/${name}`, name, target: "cow", ...change };
}

/** What `up` does with one placement: diff, and update where it reports changes. */
async function up(name: string, before: Outs, change: Record<string, unknown>): Promise<Outs> {
  const news = argsFor(name, change);
  const { changes } = await instancePlacement.provider.diff(`default/${name}`, before, news);
  if (!changes) return before;
  return (await instancePlacement.provider.update(`default/${name}`, before, news)).outs as Outs;
}

async function create(name: string, change: Record<string, unknown> = {}): Promise<Outs> {
  return (await instancePlacement.provider.create(argsFor(name, change))).outs as Outs;
}

async function refresh(name: string, before: Outs): Promise<Outs> {
  return (await instancePlacement.provider.read(`default/${name}`, before)).props as Outs;
}

const namesOf = async (): Promise<string[]> =>
  (await show(daemon)).map(({ name, status }) => `${name} ${status}`);

it("writes nothing without an opt-in, and nothing when it is forgotten", async () => {
  await daemon.incus("launch", "bb", "mary", "-c", "environment.TOKEN=secret");
  const record = await recordEvents(daemon);
  const outs = await create("mary");
  expect(outs).toMatchObject({ pool: "default", inheritsRoot: true, parked: [] });
  expect(JSON.stringify(outs)).not.toContain("secret");
  expect(await up("mary", await refresh("mary", outs), {})).toMatchObject({ pool: "default" });
  await instancePlacement.provider.delete("default/mary", outs);
  await record.stop();
  expect(record.lifecycle()).toEqual([]);
});

it("names what is near when there is no such container", async () => {
  await daemon.incus("create", "bb", "mary");
  await daemon.incus("create", "bb", "naira");
  await expect(create("marry")).rejects.toThrow(
    /There is no container "marry" in project "default"\. Did you mean "mary"/,
  );
  await expect(create("Mary")).rejects.toThrow(/Did you mean "mary"/);
});

it("pins a root that a profile gives, without a stop", async () => {
  await daemon.incus("launch", "bb", "mary");
  const { pid } = await daemon.query<{ pid: number }>("/1.0/instances/mary/state");
  const outs = await up("mary", await create("mary"), { pinRoot: true });
  expect(outs).toMatchObject({ pool: "default", inheritsRoot: false });
  expect((await daemon.query<{ pid: number }>("/1.0/instances/mary/state")).pid).toBe(pid);
  const [mary] = await show(daemon);
  expect(mary?.devices["root"]).toEqual({ type: "disk", path: "/", pool: "default" });
  expect(
    (await instancePlacement.provider.diff("default/mary", outs, argsFor("mary", { pinRoot: true }))).changes,
  ).toBe(false);
});

it("migrates, keeps the parked source through a restart, and removes it when told", async () => {
  await makeContainer(daemon, "mary");
  await daemon.incus("config", "set", "mary", "security.protection.delete=true", "boot.autostart=true");
  // Of the pool's own directory: the file system under it is used by others, too.
  const used = async (): Promise<number> => {
    const directory = join(daemon.dir, "storage-pools", "default");
    const { stdout } = await execa("du", ["-s", "--block-size=1", directory], { stdin: "ignore" });
    return Number.parseInt(stdout, 10);
  };
  await shell(daemon, "mary", "dd if=/dev/urandom of=/srv/ballast bs=1M count=80 2>/dev/null; sync");
  const moved = await up("mary", await create("mary"), { migrate: true });
  expect(moved).toMatchObject({ pool: "cow", inheritsRoot: false });
  const [parked] = moved.parked;
  expect(await namesOf()).toEqual(["mary Running", `${parked} Stopped`]);
  const files = await manifestsOf(daemon, "cow", "mary", ["before"]);

  await instancePlacement.provider.delete("default/mary", moved);
  await daemon.restart();
  expect(await namesOf()).toEqual(["mary Running", `${parked} Stopped`]);

  const full = await used();
  const cleaned = await up("mary", await refresh("mary", moved), { migrate: true, removeParked: true });
  expect(cleaned).toMatchObject({ pool: "cow", parked: [] });
  expect(await namesOf()).toEqual(["mary Running"]);
  expect(full - (await used())).toBeGreaterThan(70e6);
  expect(differencesOf(files, await manifestsOf(daemon, "cow", "mary", ["before"]))).toEqual([]);
});

it("removes no parked source that may be all there is", async () => {
  await makeContainer(daemon, "mary");
  const moved = await up("mary", await create("mary"), { migrate: true });
  await daemon.incus("delete", "--force", "mary");
  expect((await instancePlacement.provider.read("default/mary", moved)).id).toBe("");
  await expect(
    instancePlacement.provider.update("default/mary", moved, argsFor("mary", { removeParked: true })),
  ).rejects.toThrow(/There is no container "mary".*Its parked source "mary-parked-/);
  expect(await namesOf()).toEqual([`${moved.parked[0]} Stopped`]);
});

it("sees an interrupted migration in a refresh, and ends it", async () => {
  await makeContainer(daemon, "mary");
  const before = await create("mary");
  await runAndDie(daemon, requestFor("mary"), "after parking");
  const seen = await refresh("mary", before);
  expect(seen.unfinished).toBe("parked");
  const after = await up("mary", seen, {});
  expect(after).toMatchObject({ pool: "cow" });
  expect(after.unfinished).toBeUndefined();
});

it("moves ten containers in different states one after the other", { timeout: 180_000 }, async () => {
  const names = Array.from({ length: 10 }, (_, n) => `agent-${n}`);
  const running = (n: number): boolean => n % 3 !== 0;
  for (const [n, name] of names.entries()) {
    if (n % 2 === 0) await makeContainer(daemon, name);
    else await daemon.incus("launch", "bb", name);
    if (!running(n)) await daemon.incus("stop", "--force", name);
  }
  const snapshots = (n: number): string[] => (n % 2 === 0 ? ["before"] : []);
  const states = await Promise.all(names.map((name) => create(name)));
  const moved = await Promise.all(
    names.map((name, n) => up(name, states[n] as Outs, { migrate: true, migrateParallel: n < 5 ? 1 : 2 })),
  );
  expect(moved.map(({ pool }) => pool)).toEqual(names.map(() => "cow"));
  const expected = names.flatMap((name, n) => [
    `${name} ${running(n) ? "Running" : "Stopped"}`,
    `${moved[n]?.parked[0]} Stopped`,
  ]);
  expect((await namesOf()).toSorted()).toEqual(expected.toSorted());
  for (const [n, name] of names.entries()) {
    const before = await manifestsOf(daemon, "default", moved[n]?.parked[0] ?? "", snapshots(n));
    expect(differencesOf(before, await manifestsOf(daemon, "cow", name, snapshots(n)))).toEqual([]);
  }
});

it("parks an instance for its replacement and brings it back", async () => {
  await makeContainer(daemon, "iris");
  await daemon.incus("config", "set", "iris", "boot.autostart=true");
  const [before] = await show(daemon);
  const address = await daemon.ipv4("iris");
  const client = connect(daemon);
  const ref = { project: "default", name: "iris" };
  const { parkedName } = await park(client, ref, { owner: "test" }, () => undefined);
  await daemon.incus("launch", "bb", "iris");
  expect(await namesOf()).toEqual(["iris Running", `${parkedName} Stopped`]);
  await expect(unpark(client, ref, parkedName, () => undefined)).rejects.toThrow(/the name "iris" is taken/);
  await daemon.incus("delete", "--force", "iris");
  await unpark(client, ref, parkedName, () => undefined);
  await client.close();
  const [after] = await show(daemon);
  const stable = (config: Record<string, string> = {}): object =>
    Object.fromEntries(Object.entries(config).filter(([key]) => !/host_name$|last_state/.test(key)));
  expect(after?.status).toBe("Running");
  expect(stable(after?.config)).toEqual(stable(before?.config));
  expect(after?.devices).toEqual(before?.devices);
  expect(await daemon.ipv4("iris")).toBe(address);
});
