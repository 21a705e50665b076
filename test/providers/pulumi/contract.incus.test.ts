import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KINDS } from "../../../providers/pulumi/shim.ts";
import { ProviderError, type ProviderProcess, startProvider } from "../../pulumi/provider-process.ts";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { setUpHost } from "../../testbed/host-setup.ts";
import { importImage } from "../../testbed/images.ts";

/** What a preview sends for a value that is not known yet (sdk/nodejs/runtime/rpc.ts). */
const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

type Json = Record<string, unknown>;

describe("the dynamic provider's contract, over gRPC", () => {
  let d: IncusDaemon;
  let provider: ProviderProcess;

  beforeAll(async () => {
    d = await startDaemon({ name: "contract" });
    await setUpHost(d, { driver: "btrfs" });
    await importImage(d, "taos-base");
    provider = await startProvider();
  });
  afterAll(async () => {
    await provider?.stop();
    await d?.remove();
  });

  const common = (name: string): Json => ({
    host: { name: "orange", connection: `unix:${d.socketPath}` },
    owner: `p/s/orange/${name}`,
  });

  /** The least that each kind takes. */
  const least: Record<(typeof KINDS)[number], Json> = {
    Instance: { name: "iris", image: "taos-base", pool: "default" },
    InstancePlacement: { name: "mary", target: "default" },
    Network: { name: "br-new" },
    ProfileDevices: { pool: "default", network: "incusbr0" },
    StoragePool: { name: "default" },
    WarmImage: { alias: "taos-base", pool: "default" },
  };

  test.each(KINDS)("%s: check and diff pass what a preview does not know yet", async (kind) => {
    const known = provider.of(kind, { ...common(kind), ...least[kind] });
    expect((await provider.check({}, known)).failures).toEqual([]);
    for (const key of Object.keys(least[kind])) {
      const news = { ...known, [key]: UNKNOWN };
      const checked = await provider.check({}, news);
      expect(checked.failures).toEqual([]);
      expect(checked.inputs).toMatchObject({ [key]: UNKNOWN, __provider: known["__provider"] });
      expect(await provider.diff("any", known, checked.inputs)).toEqual({ changes: true, replaces: [] });
    }
  });

  test.each(KINDS)("%s: a wrong argument is refused with its path", async (kind) => {
    const news = provider.of(kind, { ...common(kind), ...least[kind], owner: 7 });
    const { failures } = await provider.check({}, news);
    expect(failures).toEqual([expect.objectContaining({ property: "owner" })]);
  });

  test("create, read, diff, update and delete: state is plain and holds the code that later operations need", async () => {
    const news = provider.of("Network", {
      ...common("br-new"),
      name: "br-new",
      config: { "ipv6.address": "none" },
    });
    const { inputs } = await provider.check({}, news);
    const created = await provider.create(inputs);
    expect(created.id).toBe("br-new");
    expect(created.properties).toMatchObject({
      schemaVersion: 1,
      name: "br-new",
      __provider: news["__provider"],
    });
    const read = await provider.read(created.id, created.properties);
    expect(read.properties).toEqual(created.properties);
    expect(await provider.diff(created.id, read.properties, inputs)).toEqual({
      changes: false,
      replaces: [],
    });

    const wanted = { ...inputs, config: { "ipv6.address": "none", "ipv4.nat": "true" } };
    expect(await provider.diff(created.id, read.properties, wanted)).toEqual({ changes: true, replaces: [] });
    const updated = await provider.update(created.id, read.properties, wanted);
    expect(updated).toMatchObject({ config: wanted.config, __provider: news["__provider"] });
    expect(await d.incus("network", "get", "br-new", "ipv4.nat")).toBe("true");

    await provider.delete(created.id, updated);
    expect((await provider.read(created.id, updated)).id).toBe("");
    // What is gone already is deleted.
    await provider.delete(created.id, updated);
  });

  test("state that another version's code wrote is updated once, then the same", async () => {
    const inputs = provider.of("WarmImage", { ...common("taos-base"), alias: "taos-base", pool: "default" });
    const { id, properties } = await provider.create(inputs);
    const older = { ...properties, __provider: `${String(properties["__provider"])}\n` };
    expect((await provider.diff(id, older, inputs)).changes).toBe(true);
    const updated = await provider.update(id, older, inputs);
    expect((await provider.diff(id, updated, inputs)).changes).toBe(false);
  });

  test("an instance that does not get ready is kept, with everything the next run needs", async () => {
    const inputs = provider.of("Instance", {
      ...common("late"),
      name: "late",
      image: "taos-base",
      pool: "default",
      ready: { command: ["test", "-e", "/ready"] },
      readyTimeout: 1_000,
      protected: false,
    });
    const failure = await provider.create(inputs).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ProviderError);
    const { message, partial } = failure as ProviderError;
    expect(message).not.toMatch(/\n +at /);
    expect(partial).toMatchObject({
      id: "late",
      reasons: [expect.stringMatching(/^Host "orange": Instance "late"/)],
    });
    const state = partial?.properties ?? {};
    expect(state).toMatchObject({ isReady: false, __provider: inputs["__provider"], schemaVersion: 1 });

    // A refresh forgets that there was an error; diff must know all the same.
    const { properties } = await provider.read("late", state);
    expect((await provider.diff("late", properties, inputs)).changes).toBe(true);
    await d.incus("exec", "late", "--", "touch", "/ready");
    expect(await provider.update("late", properties, inputs)).toMatchObject({ isReady: true });
    await provider.delete("late", properties);
    expect(await d.incus("list", "--format=csv", "--columns=n")).toBe("");
  });

  test("an error is its message: host, object, way out, no stack, nothing that looks like a made object", async () => {
    const inputs = provider.of("Instance", { ...common("iris"), ...least.Instance, image: "no-such-image" });
    const failure = await provider.create(inputs).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      partial: undefined,
      message:
        'Host "orange": Instance "iris": image "no-such-image" is not on the host. List it under images with a file or url, or import it.',
    });
    expect(provider.log.join("")).not.toMatch(/\n +at /);
  });
});
