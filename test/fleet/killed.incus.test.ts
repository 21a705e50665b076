import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { copyCheckout } from "../pulumi/checkout.ts";
import { processesWith } from "../pulumi/run.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { until } from "../testbed/deadline.ts";
import { setUpHost } from "../testbed/host-setup.ts";
import { importImage } from "../testbed/images.ts";
import { outcomes, TestFleet } from "./fleet.ts";

const MARK = "TAOS_TEST_KILLED_FLEET";

let d: IncusDaemon;
let fleet: TestFleet;
let checkout: string;
beforeAll(async () => {
  d = await startDaemon({ name: "fleet-killed" });
  await setUpHost(d, { driver: "btrfs" });
  await importImage(d, "taos-base");
  fleet = await TestFleet.create("fleet-killed");
  // State and passphrase of the clone itself, as set-up makes them.
  delete fleet.env["PULUMI_BACKEND_URL"];
  delete fleet.env["PULUMI_CONFIG_PASSPHRASE"];
  checkout = join(fleet.dir, "checkout");
  await mkdir(checkout);
  await copyCheckout(checkout);
});
afterAll(async () => {
  await fleet?.remove();
  await d?.remove();
});

test("with the machine it runs on, a roll-out releases its own locks and goes on in the clone", {
  timeout: 280_000,
}, async () => {
  const agents = {
    held: { image: "taos-base", ready: { command: ["test", "-e", "/srv/go"], timeout: "200s" } },
  };
  const file = { hosts: { "fleet-killed": { connection: `unix:${d.socketPath}`, agents } } };
  // The place of the fleet file where nobody names another.
  await writeFile(join(checkout, "stacks/fleet.yaml"), stringify(file));
  fleet.file = join(checkout, "stacks/fleet.yaml");
  fleet.env[MARK] = fleet.dir;
  const run = fleet.start(["up"], checkout);
  await until(async () => (await d.incus("list", "--format=csv", "--columns=ns")) === "held,RUNNING", {
    what: "the agent to be started",
    deadlineMs: 60_000,
  });
  for (const pid of await processesWith(`${MARK}=${fleet.dir}`)) process.kill(pid, "SIGKILL");
  await run;
  await d.incus("exec", "held", "--", "touch", "/srv/go");
  const next = await fleet.run(["up"], checkout);
  expect(outcomes(next.output), next.told).toEqual(["fleet-killed changed"]);
  expect(next.code).toBe(0);
  expect(await d.incus("list", "--format=csv", "--columns=ns")).toBe("held,RUNNING");
  await fleet.calls();
  expect((await fleet.run(["up"], checkout)).output.hosts[0]).toMatchObject({
    ...{ outcome: "unchanged", pulumi: false },
  });
  expect(await fleet.calls()).toEqual([]);
});
