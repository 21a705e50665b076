import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { get } from "../../providers/index.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { type FaultyProxy, startProxy } from "../testbed/faulty-proxy.ts";
import { setUpHost } from "../testbed/host-setup.ts";
import { importImage } from "../testbed/images.ts";
import { startProvider } from "./start-provider.ts";

type Json = Record<string, unknown>;
type Shown = { name: string; status: string; config: Record<string, string> };

const AGENT = "taos-agent-iris";

describe("a protected agent whose image changes", () => {
  let d: IncusDaemon;
  let proxy: FaultyProxy;
  let made: Json;
  let uuid: string;

  const provider = get("Instance");
  const argsOf = (change: Json = {}): Json => ({
    host: { name: "board", connection: `unix:${proxy.socketPath}` },
    owner: `taos-hosts/test/board/${AGENT}`,
    name: AGENT,
    pool: "default",
    image: "bb",
    protected: true,
    allowReplace: false,
    removeParked: false,
    ...change,
  });
  const optedIn = { image: "next", allowReplace: true };

  beforeAll(async () => {
    d = await startDaemon({ name: "replace-agent" });
    await setUpHost(d, { driver: "btrfs" });
    const fingerprint = await importImage(d, "bb");
    await d.incus("image", "alias", "create", "next", fingerprint);
  });
  afterAll(async () => {
    await proxy?.close();
    await d?.remove();
  });
  beforeEach(async () => {
    proxy = await startProxy(d);
    made = (await provider.create(argsOf())).outs as Json;
    await d.incusWithInput("months of it\n", "file", "push", "-", `${AGENT}/root/memory`);
    uuid = (await d.incus("config", "get", AGENT, "volatile.uuid")).trim();
  });
  afterEach(async () => {
    await proxy.close();
    for (const { name } of await instances()) await d.incus("delete", "--force", name);
  });

  function instances(): Promise<Shown[]> {
    return d.query<Shown[]>("/1.0/instances?recursion=1");
  }

  /** What the next `up` does: refresh, then create, update or nothing. */
  async function nextRun(args: Json): Promise<void> {
    const { id, props } = await provider.read(AGENT, made);
    if (id === "") made = (await provider.create(args)).outs as Json;
    else {
      made = props as Json;
      const { changes, replaces } = await provider.diff(id, made, args);
      expect(replaces).toEqual([]);
      if (changes) made = (await provider.update(id, made, args)).outs as Json;
    }
    // And the one after it finds nothing to do.
    const seen = await provider.read(AGENT, made);
    expect(seen.props).toMatchObject({ drift: [], isReady: true });
    expect(await provider.diff(AGENT, seen.props, args)).toMatchObject({ changes: false });
  }

  async function memoryOf(name: string): Promise<string> {
    return d.incus("file", "pull", `${name}/root/memory`, "-");
  }

  async function expectOldOne(): Promise<void> {
    expect((await instances()).map(({ name, status }) => `${name} ${status}`)).toEqual([`${AGENT} Running`]);
    expect(await d.incus("config", "get", AGENT, "volatile.uuid")).toBe(uuid);
    expect(await d.incus("config", "get", AGENT, "user.taos.stage")).toBe("");
    expect(await d.incus("config", "get", AGENT, "user.taos.parked")).toBe("");
    expect(await memoryOf(AGENT)).toBe("months of it");
  }

  async function expectReplaced(): Promise<string> {
    const all = await instances();
    expect(all).toHaveLength(2);
    const parked = all.find(({ name }) => name !== AGENT);
    expect(parked?.status).toBe("Stopped");
    expect(parked?.config["user.taos.parked"]).toContain(AGENT);
    expect(parked?.config["user.taos.stage"] ?? "").toBe("");
    expect(await memoryOf(parked?.name ?? "")).toBe("months of it");
    const next = all.find(({ name }) => name === AGENT);
    expect(next).toMatchObject({ status: "Running", config: { "user.taos.image": "next" } });
    expect(next?.config["user.taos.stage"] ?? "").toBe("");
    expect(next?.config["volatile.uuid"]).not.toBe(uuid);
    await expect(memoryOf(AGENT)).rejects.toThrow();
    return parked?.name ?? "";
  }

  test("is held without the opt-in: nothing is written", async () => {
    const writes = proxy.writes().length;
    await nextRun(argsOf({ image: "next" }));
    expect(proxy.writes()).toHaveLength(writes);
    await expectOldOne();
  });

  test("is made anew with the opt-in, once; removeParked then deletes the parked one alone", async () => {
    await nextRun(argsOf(optedIn));
    const parked = await expectReplaced();
    await d.incus("init", "bb", `${AGENT}-parked-by-hand`);
    await nextRun(argsOf({ ...optedIn, removeParked: true }));
    const left = (await instances()).map(({ name }) => name);
    expect(left.sort()).toEqual([AGENT, `${AGENT}-parked-by-hand`]);
    expect(left).not.toContain(parked);
  });

  test("comes back with its data where the new one does not become ready", async () => {
    const change = { ...optedIn, ready: { command: ["false"] }, readyTimeout: 2_000 };
    await expect(nextRun(argsOf(change))).rejects.toThrow(/The old container is back under its name/);
    await expectOldOne();
  });

  test("comes back where the new one cannot be made", async () => {
    await expect(nextRun(argsOf({ ...optedIn, config: { "limits.memory": "much" } }))).rejects.toThrow(
      /is back under its name/,
    );
    await expectOldOne();
  });

  test("is left alone where the new image is not there", async () => {
    const writes = proxy.writes().length;
    await expect(nextRun(argsOf({ ...optedIn, image: "nowhere" }))).rejects.toThrow(
      /image "nowhere" is not on the host/,
    );
    expect(proxy.writes()).toHaveLength(writes);
    await expectOldOne();
  });

  /** Writes of a replacement, in order, each by what it does. */
  const steps: [string, RegExp, number][] = [
    ["it was marked", /^PATCH .*-iris\?/, 1],
    ["it was told to stop", /^(PUT|PATCH) .*-iris(\/state)?\?/, 2],
    ["it got a parked one's settings", /^PUT .*-iris\?/, 1],
    ["it was renamed", /^POST .*-iris\?/, 1],
    ["the new one was asked for", /^POST \/1.0\/instances\?/, 1],
    ["the new one was ready", /^PATCH .*-parked-.*\?/, 1],
  ];

  async function killAfter(matcher: RegExp, nth: number): Promise<void> {
    const kill = async (): Promise<void> => {
      child.kill("SIGKILL");
      await child;
    };
    proxy.onNext(matcher, "after", kill, nth);
    const child = startProvider("Instance", "update", AGENT, made, argsOf(optedIn));
    expect((await child).signal).toBe("SIGKILL");
  }

  test.each(steps)(
    "killed when %s, it is made anew by the next run with the opt-in",
    async (_what, matcher, nth) => {
      await killAfter(matcher, nth);
      await nextRun(argsOf(optedIn));
      await expectReplaced();
    },
  );

  test.each(steps.slice(0, 5))(
    "killed when %s, it is back after a run without the opt-in",
    async (_what, matcher, nth) => {
      await killAfter(matcher, nth);
      await nextRun(argsOf({ image: "next" }));
      await expectOldOne();
    },
  );

  describe("renamed by the daemon only while the next run is at work, after a kill", () => {
    /** Moments of the next run at which a rename that was asked for by the killed one takes effect. */
    const moments: [string, RegExp][] = [
      ["between refresh and update", /^GET \/1.0\/instances/],
      ["while it waits for what goes on", /^GET \/1.0\/operations/],
    ];

    async function nextRunWithRename(args: Json, matcher: RegExp): Promise<void> {
      await killAfter(/^PUT .*-iris\?/, 1);
      made = (await provider.read(AGENT, made)).props as Json;
      const parked = `${AGENT}-parked-${uuid.slice(0, 8)}`;
      const late = proxy.onNext(matcher, "before", async () => void (await d.incus("rename", AGENT, parked)));
      made = (await provider.update(AGENT, made, args)).outs as Json;
      await late.struck;
      const seen = await provider.read(AGENT, made);
      expect(seen.props).toMatchObject({ drift: [], isReady: true });
      expect(await provider.diff(AGENT, seen.props, args)).toMatchObject({ changes: false });
    }

    test.each(moments)("%s: it is made anew with the opt-in", async (_what, matcher) => {
      await nextRunWithRename(argsOf(optedIn), matcher);
      await expectReplaced();
    });

    test.each(moments)("%s: it is back without the opt-in", async (_what, matcher) => {
      await nextRunWithRename(argsOf({ image: "next" }), matcher);
      await expectOldOne();
    });
  });

  test("killed when the new one was made, and that one does not become ready: the old one is back", async () => {
    await killAfter(/^POST \/1.0\/instances\?/, 1);
    const change = { ...optedIn, ready: { command: ["false"] }, readyTimeout: 2_000 };
    await expect(nextRun(argsOf(change))).rejects.toThrow(/The old container is back under its name/);
    await expectOldOne();
  });

  test("the provider alone refuses to delete it", async () => {
    await expect(provider.delete(AGENT, made)).rejects.toThrow(
      /Refusing to delete instance .* it is protected/,
    );
    await expectOldOne();
  });

  test("one without protection is not deleted in a run that is held", async () => {
    const args = argsOf({ protected: false });
    made = (await provider.update(AGENT, made, args)).outs as Json;
    const change = argsOf({ protected: false, image: "next", hold: "the plan has errors" });
    const { inputs } = await provider.check(made, change);
    expect(await provider.diff(AGENT, made, inputs)).toMatchObject({
      replaces: ["image"],
      deleteBeforeReplace: true,
    });
    await expect(provider.delete(AGENT, made)).rejects.toThrow("the plan has errors");
    await expectOldOne();
  });
});
