import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { changesOf, createStack, errorsOf, type TestStack } from "../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { type FaultyProxy, startProxy } from "../testbed/faulty-proxy.ts";
import { buildBigImage, importImage } from "../testbed/images.ts";
import { journalOf, POOL, type Profiles, setUpEmptyPool, showPool, showProfiles } from "./empty-pool.ts";

const IMAGE_BYTES = 48 * 1024 ** 2;
const IMAGES = ["bb", "bb-two", "big"];

describe("an empty dir pool that three profiles of three projects name", () => {
  let d: IncusDaemon;
  let proxy: FaultyProxy;
  let stack: TestStack;
  let profiles: Profiles;

  beforeAll(async () => {
    d = await startDaemon({ name: "recreate-up" });
    await setUpEmptyPool(d);
    await importImage(d, "bb");
    await importImage(d, "bb-two", await buildBigImage({ fileCount: 10, bytes: 1024 ** 2 }));
    await importImage(d, "big", await buildBigImage({ fileCount: 300, bytes: IMAGE_BYTES }));
    profiles = await showProfiles(d);
    proxy = await startProxy(d);
    const host = { connection: `unix:${proxy.socketPath}`, pool: { size: "6GiB" }, images: IMAGES };
    stack = await createStack({ name: "recreate-up", hosts: { board: host } });
  });
  afterAll(async () => {
    await stack?.remove();
    await proxy?.close();
    await d?.remove();
  });

  test("a container made by hand between preview and up: nothing is done, and that is why", {
    timeout: 120_000,
  }, async () => {
    const byHand = async (): Promise<void> => void (await d.incus("init", "bb", "by-hand"));
    // The program looks once in the preview and once in the update.
    proxy.onNext(/^GET \/1\.0\/projects\?/, "before", byHand, 2);
    const up = await stack.up({ withPreview: true });
    expect(up.exitCode).not.toBe(0);
    expect(errorsOf(up)).toMatch(
      /changed since the preview; nothing was done.*no longer: board: recreate-pool pool default/s,
    );
    expect(proxy.writes()).toEqual([]);
    expect(await showPool(d)).toMatchObject({ driver: "dir" });
    expect(await showProfiles(d)).toEqual({
      ...profiles,
      "default/default": profiles["default/default"]?.replace(
        "used_by: []",
        "used_by:\n- /1.0/instances/by-hand",
      ),
    });
    await d.incus("delete", "by-hand");
  });

  test("the provider killed once the pool is deleted: the run fails", { timeout: 120_000 }, async () => {
    proxy.onNext(/^DELETE \/1\.0\/storage-pools\//, "after", () => run.killProvider());
    const run = stack.startUp();
    const { exitCode } = await run.result;
    await run.cleanUp();
    expect(exitCode).not.toBe(0);
    expect(await d.query("/1.0/storage-pools")).toEqual([]);
  });

  test("is recreated as btrfs: profiles byte-identical, description and keys kept, images warm", {
    timeout: 120_000,
  }, async () => {
    const up = await stack.up({ withPreview: true });
    expect(errorsOf(up)).toBe("");
    expect(up.exitCode).toBe(0);
    expect(up.output.replaceAll(/\s+/g, " ")).toMatch(
      /pool default: recreate-pool: btrfs: its interrupted recreation is finished/,
    );
    expect(await showPool(d)).toMatchObject({
      driver: "btrfs",
      status: "Created",
      description: POOL.description,
      config: { "user.note": POOL.note, "rsync.bwlimit": "50MiB" },
    });
    expect(await showProfiles(d)).toEqual(profiles);
    expect(await journalOf(d)).toBeUndefined();
    const warm = await d.query<string[]>("/1.0/storage-pools/default/volumes/image");
    expect(warm).toHaveLength(IMAGES.length);
    expect(await d.query("/1.0/instances?all-projects=true")).toEqual([]);
  });

  test("launches are copies on write, in every project", { timeout: 60_000 }, async () => {
    const used = async (): Promise<number> =>
      (await d.query<{ space: { used: number } }>("/1.0/storage-pools/default/resources")).space.used;
    const before = await used();
    for (const name of ["one", "two", "three"]) await d.incus("init", "big", name);
    await d.incus("--project", "lab", "init", "big", "four", "-p", "builder");
    expect((await used()) - before).toBeLessThan(IMAGE_BYTES / 4);
  });

  test("a second up changes nothing, and destroy leaves a pool that holds something", {
    timeout: 120_000,
  }, async () => {
    const up = await stack.up();
    expect(changesOf(up)).toEqual([]);
    const destroy = await stack.destroy();
    expect(errorsOf(destroy)).toBe("");
    expect(destroy.exitCode).toBe(0);
    expect(destroy.output).toMatch(
      /pool default: left in place: it holds four|pool default: left in place: it holds/,
    );
    expect(await showPool(d)).toMatchObject({ driver: "btrfs", status: "Created" });
    expect(await d.query<unknown[]>("/1.0/instances?all-projects=true")).toHaveLength(4);
  });
});
