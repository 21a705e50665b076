import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { setUpHost } from "../testbed/host-setup.ts";
import { importImage } from "../testbed/images.ts";
import { filesWith } from "./secrets.ts";
import { createStack, errorsOf, type TestStack } from "./stack.ts";

let d: IncusDaemon;
let stack: TestStack;
beforeAll(async () => {
  d = await startDaemon({ name: "secrets" });
  await setUpHost(d, { driver: "btrfs" });
  await importImage(d, "bb");
  stack = await createStack({ name: "sealed", hosts: hosts() });
});
afterAll(async () => {
  await stack?.remove();
  await d?.remove();
});

function hosts() {
  const agent = { image: "bb", ready: "none", config: { "user.plain": "plain-one" } };
  return { orange: { connection: `unix:${d?.socketPath}`, agents: { iris: agent } } };
}

/** Encrypted values of every kind that a config may hold, by their paths; each text is there once. */
async function encrypt(suffix: string): Promise<void> {
  const agent = "orange.agents.iris";
  await stack.setSecret(`${agent}.config["cloud-init.user-data"]`, `s3cret-data-${suffix}`);
  await stack.setSecret(`${agent}.config["user.note"]`, `s3cret-note-${suffix}`);
  await stack.setSecret(`${agent}.devices.data.type`, "none");
  await stack.setSecret(`${agent}.devices.data["user.x"]`, `s3cret-device-${suffix}`);
  await stack.setSecret(`${agent}.environment.TOKEN`, `s3cret-token-${suffix}`);
}

/** Files of the backend, history and backups among them, and what was printed, that hold a secret in clear. */
async function leaks(...printed: string[]): Promise<string[]> {
  const backend = join(stack.dir, "backend");
  expect(await readdir(join(backend, ".pulumi"))).toEqual(
    expect.arrayContaining(["backups", "history", "stacks"]),
  );
  const found = await filesWith("s3cret-", backend);
  return [...found, ...printed.filter((text) => text.includes("s3cret-"))];
}

it("what the config encrypts stays secret in state, history, backups and output, by path", {
  timeout: 240_000,
}, async () => {
  await encrypt("one");
  const up = await stack.up();
  expect(errorsOf(up)).toBe("");
  expect((await d.incus("config", "get", "iris", "cloud-init.user-data")).trim()).toBe("s3cret-data-one");
  expect(await leaks(up.output)).toEqual([]);
  expect(await stack.stateText()).toContain("iris");

  // Changed by hand on the host, and in the config: neither the old nor the new one is told.
  await d.incus("config", "set", "iris", "user.note=s3cret-hand");
  await encrypt("two");
  const preview = await stack.preview();
  expect(preview.output).toContain("config");
  const second = await stack.up();
  expect(errorsOf(second)).toBe("");
  expect((await d.incus("config", "get", "iris", "user.note")).trim()).toBe("s3cret-note-two");
  const logs = (await readdir(stack.dir)).filter((name) => name.startsWith("events-"));
  const events = await Promise.all(logs.map((name) => readFile(join(stack.dir, name), "utf8")));
  expect(await leaks(preview.output, second.output, ...events)).toEqual([]);

  // What is refused is told without its value.
  await stack.setSecret('orange.agents.iris.config["limits.processes"]', "s3cret-number");
  const refused = await stack.up();
  expect(errorsOf(refused)).toContain('Invalid value for an integer "[secret]"');
  expect(await leaks(refused.output)).toEqual([]);
});
