import { rm } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { until } from "../testbed/deadline.ts";
import { recordEvents } from "../testbed/events.ts";
import { testImage } from "../testbed/images.ts";
import { projectRoot } from "./cli.ts";
import { changesOf, createStack, errorsOf, TestStack } from "./stack.ts";

const OLD = "taos-hosts/first/board/";
const NEW = "taos-hosts/second/board/";

let d: IncusDaemon;
let stack: TestStack;
beforeAll(async () => {
  d = await startDaemon({ name: "rename-kill" });
});
afterAll(async () => {
  await stack?.remove();
  await d?.remove();
});

/** A host on which the stack makes one of everything, in two projects. */
async function hosts(alias: string, optIn: Record<string, string[]> = {}) {
  const { unifiedFile } = await testImage();
  const agent = { image: alias, ready: "none" };
  return {
    board: {
      connection: `unix:${d.socketPath}`,
      pool: { size: "5GiB" },
      images: ["one", "two"].map((name) => ({ alias: name, file: unifiedFile })),
      agents: { iris: agent, juno: { image: "one", ready: "none", project: "side" } },
      optIn,
    },
  };
}

/**
 * Every mark on the host, also those that a parked instance's record holds, by what carries it. What Incus noted of an
 * instance's image when it was made (`image.*`) is none.
 */
async function marks(): Promise<string[]> {
  const carriers = await Promise.all(
    ["instances", "storage-pools", "networks", "images"].map(async (kind) => {
      const projects = kind === "instances" || kind === "images" ? "&all-projects=true" : "";
      return (await d.query<object[]>(`/1.0/${kind}?recursion=1${projects}`)).map((one) => ({ kind, one }));
    }),
  );
  return carriers
    .flat()
    .flatMap(({ kind, one }) =>
      [
        ...JSON.stringify(one).matchAll(
          /(?<!"image\.user\.taos\.owner":")taos-hosts\/(?:first|second)\/board\/[a-z0-9-]*/g,
        ),
      ].map(([mark]) => `${kind} ${mark}`),
    );
}

const processIds = async (): Promise<number[]> => {
  const names = ["iris", "juno?project=side"].map((one) => one.split("?"));
  const states = await Promise.all(
    names.map(([name, query]) =>
      d.query<{ pid: number }>(`/1.0/instances/${name}/state${query ? `?${query}` : ""}`),
    ),
  );
  return states.map(({ pid }) => pid);
};

function rename() {
  const flags = ["--stack", "second", "--from-stack", "first", "--config-file", stack.configFile, "--yes"];
  const command = join(projectRoot, "infra/commands/rename-command.ts");
  return execa(process.execPath, [command, ...flags], { env: stack.env, reject: false, all: true });
}

it("killed between two objects, at one after the other, the next run finishes and nothing else changed", {
  timeout: 300_000,
}, async () => {
  await d.incus("project", "create", "side", "-c", "features.images=false", "-c", "features.profiles=false");
  const first = await createStack({ name: "first", hosts: await hosts("one") });
  stack = first;
  expect(errorsOf(await first.up())).toBe("");
  // A parked source: the record in it holds a mark, too.
  await first.setHosts(await hosts("two", { replace: ["iris"] }));
  expect(errorsOf(await first.up())).toBe("");
  await first.setHosts(await hosts("two"));
  const before = (await marks()).sort();
  for (const kind of ["instances", "storage-pools", "networks", "images"]) {
    expect(
      before.filter((mark) => mark.startsWith(`${kind} `)),
      kind,
    ).not.toEqual([]);
  }
  const running = await processIds();

  await first.pulumi(["stack", "rename", "second", "--stack", "first"]);
  stack = new TestStack({ name: "second", hosts: {} }, first.dir, first.env["PATH"] ?? "");
  await rm(stack.configFile, { force: true });
  await stack.setHosts(await hosts("two"));

  for (let done = 1; done <= 2; done++) {
    const record = await recordEvents(d);
    const killed = rename();
    await until(() => record.lifecycle().some((line) => /-updated /.test(line)), {
      what: "a mark to be changed",
      everyMs: 1,
    });
    killed.kill("SIGKILL");
    await killed;
    await record.stop();
    const halfway = await marks();
    expect(halfway.some((mark) => mark.includes(NEW))).toBe(true);
    expect(halfway.map((mark) => mark.replace(NEW, OLD)).sort()).toEqual(before);
    expect(await stack.stateText()).toContain(OLD);
  }
  const last = await rename();
  expect(last.exitCode, last.all).toBe(0);
  expect((await marks()).sort()).toEqual(before.map((mark) => mark.replace(OLD, NEW)).sort());
  expect(await stack.stateText()).not.toContain(OLD);
  const up = await stack.up();
  expect(errorsOf(up)).toBe("");
  expect(changesOf(up)).toEqual([]);
  expect(await processIds()).toEqual(running);
});
