import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { pulumiPath } from "../pulumi/cli.ts";
import { changesOf, createStack, errorsOf, type RunResult, TestStack } from "../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { setUpHost } from "../testbed/host-setup.ts";
import { importImage } from "../testbed/images.ts";

type Json = Record<string, unknown>;
type Shown = { name: string; config: Record<string, string> };

const KEPT = "taos-agent-iris";
const LOOSE = "taos-agent-juno";

describe("agents that a stack has made", () => {
  let d: IncusDaemon;
  let stack: TestStack;
  let uuids: Record<string, string | undefined>;

  const kept = { image: "bb", ready: "none" };
  const loose = { image: "bb", ready: "none", protected: false };

  async function set(one: TestStack, agents: Json, rest: Json = {}): Promise<void> {
    await one.setHosts({ board: { connection: `unix:${d.socketPath}`, agents, ...rest } });
  }

  async function up(agents: Json, rest: Json = {}): Promise<RunResult> {
    await set(stack, agents, rest);
    return stack.up();
  }

  async function uuidsNow(): Promise<Record<string, string | undefined>> {
    const all = await d.query<Shown[]>("/1.0/instances?recursion=1");
    return Object.fromEntries(all.map(({ name, config }) => [name, config["volatile.uuid"]]));
  }

  beforeAll(async () => {
    d = await startDaemon({ name: "guarded-agents" });
    await setUpHost(d, { driver: "btrfs" });
    const fingerprint = await importImage(d, "bb");
    await d.incus("image", "alias", "create", "next", fingerprint);
    stack = await createStack({ name: "guarded", hosts: {} });
    const made = await up({ [KEPT]: kept, [LOOSE]: loose });
    expect(errorsOf(made)).toBe("");
    await d.incusWithInput("months of it\n", "file", "push", "-", `${KEPT}/root/memory`);
  });
  afterAll(async () => {
    await stack?.remove();
    await d?.remove();
  });
  beforeEach(async () => {
    uuids = await uuidsNow();
  });

  test("an image change is shown and held", { timeout: 90_000 }, async () => {
    const held = await up({ [KEPT]: { ...kept, image: "next" }, [LOOSE]: loose });
    expect(errorsOf(held)).toBe("");
    expect(held.exitCode).toBe(0);
    expect(held.output).toContain("image changes from bb to next");
    expect(held.output.replaceAll(/\s+/g, " ")).toContain(`Name ${KEPT} under optIn.replace`);
    expect(await uuidsNow()).toEqual(uuids);
  });

  test("an error of the same host keeps a loose agent from being deleted, or made anew", {
    timeout: 120_000,
  }, async () => {
    const ghost = { containers: { ghost: {} } };
    const removed = await up({ [KEPT]: kept }, ghost);
    expect(removed.exitCode).not.toBe(0);
    expect(errorsOf(removed)).toContain("container ghost: there is no container of this name on the host");
    expect(await uuidsNow()).toEqual(uuids);
    const replaced = await up({ [KEPT]: kept, [LOOSE]: { ...loose, image: "next" } }, ghost);
    expect(replaced.exitCode).not.toBe(0);
    expect(await uuidsNow()).toEqual(uuids);
  });

  test("taken out of the config, a protected one stays: the run fails and says how", {
    timeout: 90_000,
  }, async () => {
    const removed = await up({ [LOOSE]: loose });
    expect(removed.exitCode).not.toBe(0);
    expect(errorsOf(removed)).toMatch(
      /it is protected, and the config no longer names it\. Put it back under agents/,
    );
    expect(await uuidsNow()).toEqual(uuids);
  });

  test("Pulumi's own protection alone is enough for destroy", { timeout: 90_000 }, async () => {
    const destroy = await stack.destroy();
    expect(destroy.exitCode).not.toBe(0);
    expect(errorsOf(destroy)).toMatch(/protected/);
    expect(await uuidsNow()).toMatchObject({ [KEPT]: uuids[KEPT] });
  });

  test("without Pulumi's, the provider's is", { timeout: 120_000 }, async () => {
    expect(errorsOf(await up({ [KEPT]: kept, [LOOSE]: loose }))).toBe("");
    uuids = await uuidsNow();
    await stack.unprotect();
    const destroy = await stack.destroy({ flags: ["--target", `**${KEPT}`] });
    expect(destroy.exitCode).not.toBe(0);
    expect(errorsOf(destroy)).toContain(`Refusing to delete instance "${KEPT}": it is protected`);
    expect(await uuidsNow()).toEqual(uuids);
  });

  test("a renamed stack does not take them over, and does not touch them", { timeout: 120_000 }, async () => {
    const cwd = ["--cwd", join(stack.dir, "init")];
    await stack.pulumi(["stack", "rename", "renamed", "--stack", "guarded", ...cwd]);
    const renamed = new TestStack({ name: "renamed", hosts: {} }, stack.dir, await pulumiPath());
    await set(renamed, { [KEPT]: kept, [LOOSE]: loose });
    const tried = await renamed.up();
    expect(tried.exitCode).not.toBe(0);
    expect(errorsOf(tried)).toMatch(/it was made by stack guarded of project .*npm run rename/);
    expect(await uuidsNow()).toEqual(uuids);
    await stack.pulumi(["stack", "rename", "guarded", "--stack", "renamed", ...cwd]);
  });

  test("optIn.replace makes one anew and parks the old one; removeParked deletes that alone", {
    timeout: 150_000,
  }, async () => {
    const next = { [KEPT]: { ...kept, image: "next" }, [LOOSE]: loose };
    const replaced = await up(next, { optIn: { replace: [KEPT] } });
    expect(errorsOf(replaced)).toBe("");
    expect(changesOf(replaced)).toContain(`board/${KEPT} update`);
    const now = await uuidsNow();
    const parked = Object.keys(now).find((name) => name.startsWith(`${KEPT}-parked-`)) ?? "";
    expect(now[LOOSE]).toBe(uuids[LOOSE]);
    expect(now[parked]).toBe(uuids[KEPT]);
    expect(now[KEPT]).not.toBe(uuids[KEPT]);
    expect(await d.incus("file", "pull", `${parked}/root/memory`, "-")).toBe("months of it");
    const removed = await up(next, { optIn: { removeParked: [KEPT] } });
    expect(errorsOf(removed)).toBe("");
    const { [parked]: _gone, ...left } = now;
    expect(await uuidsNow()).toEqual(left);
  });
});
