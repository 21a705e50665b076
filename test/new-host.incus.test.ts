import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { commandsDuring, filesWith } from "./pulumi/secrets.ts";
import { shippedHosts } from "./pulumi/shipped-stack.ts";
import { daemonContents } from "./pulumi/snapshot.ts";
import { changesOf, createStack, errorsOf, type HostsConfig, opsOf, type TestStack } from "./pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "./testbed/daemon.ts";
import { recordEvents } from "./testbed/events.ts";
import { buildBigImage } from "./testbed/images.ts";

const IMAGE = "taos-openclaw-base";
const IMAGE_BYTES = 48 * 1024 ** 2;
const AGENTS = ["taos-agent-iris", "taos-agent-juno", "taos-agent-kira"];
/** Keeps a record in the container of what was there at each start. */
const RC_LOCAL = `#!/bin/sh
{ echo started; echo "name is $TAOS_AGENT_NAME"; cat /root/.openclaw/openclaw.json; } >>/starts
`;
const PLAIN_SECRET = "plain-config-value-4711";
const SEALED_SECRET = "sealed-config-value-0815";
const FILE_SECRET = "file-content-value-1234";

type Json = Record<string, unknown>;

/** stacks/Pulumi.new-host.yaml on the test's daemon: connection, image and size are the test's, the rest is shipped. */
async function twin(d: IncusDaemon): Promise<HostsConfig> {
  const hosts = structuredClone(await shippedHosts("new-host"));
  const host = hosts["orange-1"] as {
    pool: Json;
    agents: Record<string, { files: Json[]; environment: Json }>;
  };
  const { metadataFile: metadata, rootfsFile: rootfs } = await buildBigImage({
    fileCount: 300,
    bytes: IMAGE_BYTES,
  });
  Object.assign(host, { connection: `unix:${d.socketPath}`, images: [{ alias: IMAGE, metadata, rootfs }] });
  Object.assign(host.pool, { size: "6GiB" });
  for (const agent of Object.values(host.agents))
    agent.files.push({ path: "/etc/rc.local", content: RC_LOCAL, mode: "0755" });
  const iris = host.agents["taos-agent-iris"];
  Object.assign(iris?.environment ?? {}, { PLAIN_TOKEN: PLAIN_SECRET });
  iris?.files.push({ path: "/etc/token", content: FILE_SECRET, mode: "0600" });
  return hosts;
}

/** A change to one agent of the twin. */
function withAgents(hosts: HostsConfig, change: Json): HostsConfig {
  const host = hosts["orange-1"] as { agents: Record<string, Json> };
  const agents = Object.fromEntries(
    Object.entries(host.agents).map(([name, agent]) => [name, { ...agent, ...change }]),
  );
  return { "orange-1": { ...host, agents } };
}

describe("stacks/Pulumi.new-host.yaml on an empty host", () => {
  let d: IncusDaemon;
  let stack: TestStack;
  let hosts: HostsConfig;
  let before: unknown;

  beforeAll(async () => {
    d = await startDaemon({ name: "new-host" });
    before = await daemonContents(d);
    hosts = await twin(d);
    stack = await createStack({ name: "new-host", hosts });
    await stack.setSecret("orange-1.agents.taos-agent-juno.environment.SEALED_TOKEN", SEALED_SECRET);
  });
  afterAll(async () => {
    await stack?.remove();
    await d?.remove();
  });

  test("a preview writes nothing", { timeout: 60_000 }, async () => {
    const record = await recordEvents(d);
    const preview = await stack.preview();
    expect(errorsOf(preview)).toBe("");
    expect(preview.exitCode).toBe(0);
    expect(opsOf(preview)).toHaveLength(7);
    expect(preview.output).not.toMatch(new RegExp(`${PLAIN_SECRET}|${SEALED_SECRET}|${FILE_SECRET}`));
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
    expect(await daemonContents(d)).toEqual(before);
  });

  test("up makes pool, bridge, profile and three agents that were started once", {
    timeout: 120_000,
  }, async () => {
    const record = await recordEvents(d);
    const run = stack.up({ withPreview: true });
    const commands = await commandsDuring(run);
    const up = await run;
    expect(errorsOf(up)).toBe("");
    expect(up.exitCode).toBe(0);
    expect(opsOf(up)).toEqual([
      "orange-1/default create",
      "orange-1/default-profile create",
      "orange-1/incusbr0 create",
      ...AGENTS.map((name) => `orange-1/${name} create`),
      `orange-1/${IMAGE} create`,
    ]);

    await record.stop();
    const lifecycle = record.lifecycle();
    for (const name of AGENTS) {
      const actions = lifecycle
        .filter((line) => line.endsWith(`/1.0/instances/${name}`))
        .map((line) => line.split(" ")[0]);
      expect(actions.filter((action) => action === "instance-started")).toHaveLength(1);
      expect(actions.join(" ")).not.toMatch(/restart|stopped|shutdown|renamed|deleted/);
      expect(await d.ipv4(name)).toMatch(/^10\./);
      const rootfs = d.rootfs("default", name);
      // Written by the container itself at its first start: environment and files were there by then.
      const starts = (await readFile(join(rootfs, "starts"), "utf8")).split("\n");
      expect(starts.filter((line) => line === "started")).toHaveLength(1);
      const short = name.replace("taos-agent-", "");
      expect(starts).toContain(`name is ${short}`);
      expect(starts).toContain(`{ "agent": "${short}" }`);
    }
    expect(await d.incus("config", "get", "taos-agent-iris", "raw.idmap")).toBe("both 1000 0");
    expect(JSON.parse(await d.incus("list", "--format=json")) as unknown[]).toHaveLength(AGENTS.length);

    // Four full copies of the image (it and three agents) would take four times its size.
    const { space } = await d.query<{ space: { used: number } }>("/1.0/storage-pools/default/resources");
    expect(space.used).toBeLessThan(1.6 * IMAGE_BYTES);

    for (const secret of [PLAIN_SECRET, SEALED_SECRET, FILE_SECRET]) {
      expect(up.output).not.toContain(secret);
      expect(up.text).not.toContain(secret);
      expect(commands.filter((command) => command.includes(secret))).toEqual([]);
      expect(await stack.stateText()).not.toContain(secret);
    }
    expect(await filesWith(SEALED_SECRET, stack.dir)).toEqual([]);
  });

  test("a second up finds everything unchanged", { timeout: 60_000 }, async () => {
    const record = await recordEvents(d);
    const up = await stack.up();
    expect(up.exitCode).toBe(0);
    expect(errorsOf(up)).toBe("");
    expect(up.changes).toEqual({ same: 10 });
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
  });

  test("outputs tell pool, driver and each agent's address", async () => {
    const { hosts: outputs } = await stack.outputs<{ hosts: Record<string, Json> }>();
    expect(outputs["orange-1"]).toMatchObject({
      pool: "default",
      driver: "btrfs",
      launchPool: "default",
      agents: Object.fromEntries(await Promise.all(AGENTS.map(async (name) => [name, await d.ipv4(name)]))),
    });
  });

  test("refresh and preview find a device that was removed, an agent that was deleted and a pool config that was changed", {
    timeout: 90_000,
  }, async () => {
    await d.incus("profile", "device", "remove", "default", "eth0");
    await d.incus("storage", "unset", "default", "user.taos.owner");
    await d.incus("config", "device", "remove", "taos-agent-iris", "root");
    await d.incus("delete", "--force", "taos-agent-juno");

    const preview = await stack.preview();
    expect(preview.exitCode).toBe(0);
    const found = [
      "orange-1/default update",
      "orange-1/default-profile update",
      "orange-1/taos-agent-iris update",
      "orange-1/taos-agent-juno create",
    ];
    // A preview cannot know what depends on the pool's own update.
    expect(changesOf(preview)).toEqual(expect.arrayContaining(found));
    const refresh = await stack.refresh({ flags: ["--preview-only", "--expect-no-changes"] });
    expect(refresh.exitCode).toBe(7);

    const up = await stack.up();
    expect(errorsOf(up)).toBe("");
    expect(changesOf(up)).toEqual(found);
    expect(await d.incus("profile", "device", "get", "default", "eth0", "network")).toBe("incusbr0");
    expect(await d.incus("storage", "get", "default", "user.taos.owner")).toBe(
      "taos-hosts/new-host/orange-1/default",
    );
    expect(await d.incus("config", "device", "get", "taos-agent-iris", "root", "size")).toBe("40GiB");
    expect(await d.ipv4("taos-agent-juno")).toMatch(/^10\./);
    expect(changesOf(await stack.preview())).toEqual([]);
  });

  test("destroy is refused while agents are protected, and nothing is deleted", {
    timeout: 60_000,
  }, async () => {
    const record = await recordEvents(d);
    const destroy = await stack.destroy();
    expect(destroy.exitCode).not.toBe(0);
    expect(errorsOf(destroy)).toMatch(/protect/);
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
  });

  test("with protection lifted, destroy leaves the daemon as it was found", {
    timeout: 120_000,
  }, async () => {
    await stack.setHosts(withAgents(hosts, { protected: false }));
    const up = await stack.up();
    expect(errorsOf(up)).toBe("");
    const destroy = await stack.destroy();
    expect(errorsOf(destroy)).toBe("");
    expect(destroy.exitCode).toBe(0);
    expect(await stack.resources()).toEqual([]);
    expect(await daemonContents(d)).toEqual(before);
  });
});
