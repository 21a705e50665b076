import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { PulumiRun } from "../pulumi/run.ts";
import { changesOf, createStack, errorsOf, type TestStack } from "../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { recordEvents } from "../testbed/events.ts";
import { trustNewClient } from "../testbed/trust.ts";
import {
  instanceOf,
  keptOf,
  lostIn,
  makeContainer,
  parkedOf,
  placesOf,
  reaches,
  rootOf,
  setUpDirHost,
  shell,
  twin,
} from "./scene.ts";

let d: IncusDaemon;
let first: TestStack;
let second: TestStack;
let run: PulumiRun | undefined;

beforeAll(async () => {
  d = await startDaemon({ name: "mig-contended", https: true });
});
afterAll(() => d?.remove());
beforeEach(async () => {
  await d.reset();
  await setUpDirHost(d);
  await makeContainer(d, "mary");
  await d.ipv4("mary");
});
afterEach(async () => {
  await run?.cleanUp();
  run = undefined;
  await first?.remove();
  await second?.remove();
});

/** Stack config with mary alone, opted in or not. */
async function hosts(migrate: string[], change: Record<string, unknown> = {}) {
  return twin(d, { containers: { mary: {} }, optIn: { migrate }, ...change });
}

describe("two runs with backends of their own on one host", () => {
  it("the second is refused while the first is at work, and then finds nothing to do", {
    timeout: 150_000,
  }, async () => {
    first = await createStack({ name: "first", hosts: await hosts(["mary"]) });
    second = await createStack({ name: "second", hosts: await hosts(["mary"]) });
    // Slow to stop, so that the first is at work for a while.
    await writeFile(join(rootOf(d, "default", await instanceOf(d, "mary")), "etc/ignore-stop"), "");
    run = first.startUp();
    await reaches(first, run, /stopping the container/);
    const refused = await second.up();
    expect(refused.exitCode).not.toBe(0);
    expect(errorsOf(refused)).toMatch(
      /"mary": another run is at work on it \(process \d+ of this machine\)\. Wait for it to end, then run again/,
    );
    await shell(d, "mary", "rm /etc/ignore-stop; kill -PWR 1");
    const { exitCode } = await run.result;
    expect(exitCode).toBe(0);
    const mary = await instanceOf(d, "mary");
    expect(await placesOf(d)).toEqual(["mary Running default-cow", `${parkedOf(mary)} Stopped default`]);
    expect(await lostIn(d, await instanceOf(d, parkedOf(mary)), mary)).toEqual([]);
    const record = await recordEvents(d);
    await second.up();
    await record.stop();
    expect(record.lifecycle().filter((line) => line.includes("mary"))).toEqual([]);
  });
});

describe("the opt-in is withdrawn half-way", () => {
  it("the original runs on, as it was, and nothing is left over", { timeout: 150_000 }, async () => {
    const before = keptOf(await instanceOf(d, "mary"));
    const { state } = await instanceOf(d, "mary");
    first = await createStack({ name: "withdrawn", hosts: await hosts(["mary"]) });
    run = first.startUp();
    await reaches(first, run, /live round 1 done/);
    await run.cleanUp();
    await first.cancel();
    expect(await placesOf(d)).toHaveLength(2);
    await first.setHosts(await hosts([]));
    const up = await first.up();
    expect(up.output).toMatch(/undone: "mary" is as it was/);
    expect(errorsOf(up)).toBe("");
    expect(up.exitCode).toBe(0);
    expect(await placesOf(d)).toEqual(["mary Running default"]);
    const mary = await instanceOf(d, "mary");
    expect(keptOf(mary)).toEqual(before);
    expect(Object.keys(mary.config).filter((key) => key.startsWith("user.taos."))).toEqual([]);
    // It may have been told to stop already when the run was struck.
    if (up.output.includes("starting the original") === false) expect(mary.state.pid).toBe(state.pid);
    expect(await shell(d, "mary", "cat /srv/notes")).toBe("memory\nmonday");
    expect(changesOf(await first.up())).toEqual([]);
  });
});

describe("a host that is reached over https", () => {
  it("is refused before anything is written, with the way out", { timeout: 120_000 }, async () => {
    const client = await trustNewClient(d);
    const { certificateFile, keyFile, serverCertificateFile } = client;
    const tls = { certificateFile, keyFile, serverCertificateFile };
    first = await createStack({ name: "remote", hosts: await hosts(["mary"], { connection: d.url, tls }) });
    const { state, ...before } = await instanceOf(d, "mary");
    const up = await first.up();
    expect(up.exitCode).not.toBe(0);
    expect(errorsOf(up)).toMatch(
      /mary.* host's files cannot be re.*Incus' own copy breaks hardlinks\. Use connection: unix as root on the host, or ssh:\/\//,
    );
    const after = await instanceOf(d, "mary");
    expect({ ...after, state: undefined }).toEqual({ ...before, state: undefined });
    expect(after.state.pid).toBe(state.pid);
    expect(await placesOf(d)).toEqual(["mary Running default"]);
  });
});
