import { access } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { IncusDaemon } from "../../testbed/daemon.ts";
import { differencesOf, makeContainer, manifestsOf, requestFor, run, show, startHost } from "./scene.ts";

let daemon: IncusDaemon;
beforeAll(async () => {
  daemon = await startHost("mig-private", "512MiB", { privateMounts: true });
});
afterAll(async () => daemon?.remove());

it("migrates where the daemon's mounts are seen by the daemon alone", async () => {
  await makeContainer(daemon, "mary");
  const uuid = (await show(daemon))[0]?.config["volatile.uuid"] ?? "";
  // Or this test would show nothing: the pool is mounted for the daemon, and not here.
  await expect(access(join(daemon.dir, "storage-pools/cow/containers"))).rejects.toThrow("ENOENT");

  await run(daemon, requestFor("mary"));

  const parked = `mary-parked-${uuid.slice(0, 8)}`;
  const instances = await show(daemon);
  expect(instances.map(({ name, status }) => `${name} ${status}`).toSorted()).toEqual([
    "mary Running",
    `${parked} Stopped`,
  ]);
  expect(instances.find(({ name }) => name === "mary")?.expanded_devices["root"]?.["pool"]).toBe("cow");
  const kept = await manifestsOf(daemon, "default", parked, ["before"]);
  expect(kept.get("")?.has("srv/fifo")).toBe(true);
  expect(differencesOf(kept, await manifestsOf(daemon, "cow", "mary", ["before"]))).toEqual([]);
});
