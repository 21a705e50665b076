import { rename } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, expect, it } from "vitest";
import { get } from "../../../providers/index.ts";
import type { IncusDaemon } from "../../testbed/daemon.ts";
import { makeContainer, requestFor, run, show, startHost } from "./scene.ts";

let daemon: IncusDaemon;
beforeAll(async () => {
  daemon = await startHost("mig-unavailable");
});
afterAll(() => daemon?.remove());

async function statusOf(pool: string): Promise<string> {
  return (await daemon.query<{ status: string }>(`/1.0/storage-pools/${pool}`)).status;
}

it("leaves a container alone while the target pool is unavailable, and moves it once it is back", async () => {
  await makeContainer(daemon, "mary");
  const { pid } = await daemon.query<{ pid: number }>("/1.0/instances/mary/state");
  const image = join(daemon.dir, "disks", "cow.img");
  await daemon.stop();
  await execa("umount", ["--lazy", join(daemon.dir, "storage-pools", "cow")], { stdin: "ignore" });
  await rename(image, `${image}.away`);
  await daemon.start();
  expect(await statusOf("cow")).toBe("Unavailable");

  await expect(run(daemon, requestFor("mary"))).rejects.toThrow(
    /pool "cow" is not available \(Unavailable\).*incus warning list/,
  );
  const host = { name: "host", connection: `unix:${daemon.socketPath}` };
  const pool = get("StoragePool").create({ host, owner: "test/stack/host/cow", name: "cow", source: "loop" });
  await expect(pool).rejects.toThrow(/pool cow is unavailable.*incus warning list/i);
  expect(await show(daemon)).toMatchObject([{ name: "mary", status: "Running" }]);
  expect((await daemon.query<{ pid: number }>("/1.0/instances/mary/state")).pid).toBe(pid);

  await daemon.stop();
  await rename(`${image}.away`, image);
  await daemon.start();
  expect(await statusOf("cow")).toBe("Created");
  await run(daemon, requestFor("mary"));
  const mary = (await show(daemon)).find(({ name }) => name === "mary");
  expect(mary?.expanded_devices["root"]?.["pool"]).toBe("cow");
});
