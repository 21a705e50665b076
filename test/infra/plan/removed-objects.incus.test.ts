import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { changesOf, createStack, errorsOf, type TestStack } from "../../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { testImage } from "../../testbed/images.ts";

let d: IncusDaemon;
let stack: TestStack;
let file: string;

beforeAll(async () => {
  d = await startDaemon({ name: "removed-objects" });
  file = (await testImage()).unifiedFile;
  stack = await createStack({ name: "removed-objects", hosts: {} });
});
afterAll(async () => {
  await stack?.remove();
  await d?.remove();
});

const pool = { driver: "btrfs", size: "5GiB" };

/** Runs `up` with this config; the plan that it reports is compared with its steps by the stack itself. */
async function up(host: object): Promise<{ changes: string[]; said: string }> {
  await stack.setHosts({ board: { connection: `unix:${d.socketPath}`, ...host } });
  const result = await stack.up();
  expect(errorsOf(result)).toBe("");
  expect(result.exitCode).toBe(0);
  const said = result.diagnostics.map(({ message }) => message).join("\n");
  return { changes: changesOf(result), said };
}

const names = async (...list: string[]): Promise<string[]> =>
  (await d.incus(...list, "--format", "csv", "--columns", list[0] === "image" ? "l" : "n")).split("\n");

describe("what a stack made and its config no longer names", () => {
  it("is in the plan as deleted exactly where up deletes it, and named where it is left", {
    timeout: 300_000,
  }, async () => {
    await up({
      pool: { ...pool, name: "first" },
      bridge: "taosbr1",
      images: [{ alias: "one", file }],
    });
    expect(await names("storage", "list")).toContain("first");
    // The default profile is on pool and bridge: both stay, and that is said.
    const left = await up({
      pool: { ...pool, name: "second" },
      bridge: "taosbr2",
      images: [{ alias: "two", file }],
    });
    expect(left.said).toContain("pool first is left in place");
    expect(left.said).toContain("network taosbr1 is left in place");
    expect(left.said).toContain("image one: delete-image");
    expect(left.changes).toEqual(expect.arrayContaining(["board/one delete", "board/first delete"]));
    expect(await names("storage", "list")).toEqual(expect.arrayContaining(["first", "second"]));
    expect(await names("network", "list")).toEqual(expect.arrayContaining(["taosbr1", "taosbr2"]));
    expect((await d.incus("image", "alias", "list", "--format", "csv")).split("\n").join(" ")).toMatch(
      /^two,/,
    );

    // What was left is the host's now: nothing is said of it again, not even once nothing uses it.
    const second = { pool: { ...pool, name: "second" }, bridge: "taosbr2", images: [{ alias: "two", file }] };
    await d.incus("profile", "device", "set", "default", "root", "pool=second");
    await d.incus("profile", "device", "set", "default", "eth0", "network=taosbr2");
    const quiet = await up(second);
    expect(quiet.changes).toEqual([]);
    expect(quiet.said).not.toMatch(/first|taosbr1/);
    expect(await names("storage", "list")).toContain("first");

    // Named again it is the stack's as before, and what nothing uses goes.
    await d.incus("profile", "device", "set", "default", "root", "pool=first");
    await d.incus("profile", "device", "set", "default", "eth0", "network=taosbr1");
    const first = { pool: { name: "first" }, bridge: "taosbr1" };
    const gone = await up(first);
    expect(gone.said).toContain("pool second: delete-pool");
    expect(gone.said).toContain("network taosbr2: delete-network");
    // Whether a further alias of an image was a resource of the stack's or put there by hand, no look can tell.
    expect(gone.changes).toContain("board/two delete");
    expect(await names("storage", "list")).not.toContain("second");
    expect(await names("network", "list")).not.toContain("taosbr2");
    expect(await d.incus("image", "list", "--format", "csv")).toBe("");
    expect((await up(first)).changes).toEqual([]);
    await d.incus("profile", "device", "remove", "default", "root");
    await d.incus("profile", "device", "remove", "default", "eth0");
    const destroyed = await stack.destroy();
    expect(errorsOf(destroyed)).toBe("");
    expect(await names("storage", "list")).toEqual([""]);
    expect(await names("network", "list")).not.toContain("taosbr1");
  });
});
