import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Plan, planErrors, planHosts } from "../../../infra/plan/plan.ts";
import { type Held, holdToPreview, withHeld } from "../../../infra/run/previewed-plan.ts";

let directory = "";

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "taos-hosts-previews-"));
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(directory, { recursive: true, force: true });
});

const OWNER = { project: "taos-hosts", stack: "orchard" };

/** A plan that makes these agents on one host. */
function planOf(...objects: string[]): Plan {
  const [host] = planHosts({ board: { name: "board", pool: {} } as never }, {}, OWNER).hosts;
  if (!host) throw new Error("no host");
  const actions = objects.map((object) => ({ kind: "create-agent" as const, object, reason: "" }));
  return { hosts: [{ ...host, unreachable: null, actions }] };
}

function hold(run: string, plan: Plan, isPreview: boolean): Held {
  vi.stubEnv("TAOS_HOSTS_RUN_ID", run);
  return holdToPreview(plan, isPreview, directory);
}

test("an update takes what its preview said away, and no other run's", () => {
  expect(hold("one", planOf("container iris"), true).wasShown).toBe(false);
  expect(hold("two", planOf(), true).wasShown).toBe(false);
  expect(hold("one", planOf("container iris"), false)).toEqual({ wasShown: true, changed: {} });
  expect(readdirSync(directory)).toEqual(["two.json"]);
});

test("an update that differs from its preview is refused, naming what differs, and leaves nothing behind", () => {
  hold("one", planOf("container iris"), true);
  const plan = planOf("container rose");
  const errors = planErrors(withHeld(plan, hold("one", plan, false)));
  expect(errors).toEqual([
    'Host "board": its plan: it changed since the preview; nothing was done there. Look at a new preview.\nnow also: board: create-agent container rose\nno longer: board: create-agent container iris',
  ]);
  expect(readdirSync(directory)).toEqual([]);
});

test("an update without a preview is held to nothing", () => {
  expect(hold("one", planOf("container iris"), false)).toEqual({ wasShown: false, changed: {} });
});

test("one host that changed, or went away, holds itself and not the others", () => {
  const [iris] = planOf("container iris").hosts;
  const [rose] = planOf("container rose").hosts;
  if (!iris || !rose) throw new Error("no plans");
  const hosts = (first: typeof iris, second: typeof iris): Plan => ({
    hosts: [
      { ...first, host: "near" },
      { ...second, host: "far" },
    ],
  });
  hold("one", hosts(iris, iris), true);
  const changed = hosts(iris, rose);
  const held = withHeld(changed, hold("one", changed, false));
  expect(held.hosts.map(({ refusals }) => refusals.length)).toEqual([0, 1]);

  hold("two", hosts(iris, iris), true);
  const gone = hosts(iris, { ...iris, unreachable: "it is off", actions: [] });
  expect(hold("two", gone, false)).toEqual({ wasShown: true, changed: {} });

  // What answers again was not shown: what there is to do there waits for a new preview.
  hold("three", gone, true);
  expect(Object.keys(hold("three", hosts(iris, iris), false).changed)).toEqual(["far"]);
});

test("a preview clears away those of more than a week ago whose update never came", () => {
  for (const name of ["old.json", "open.json", "note.txt"]) writeFileSync(join(directory, name), "[]");
  const daysAgo = (days: number): Date => new Date(Date.now() - days * 24 * 3_600_000);
  utimesSync(join(directory, "old.json"), daysAgo(8), daysAgo(8));
  utimesSync(join(directory, "note.txt"), daysAgo(8), daysAgo(8));
  utimesSync(join(directory, "open.json"), daysAgo(3), daysAgo(3));
  hold("one", planOf(), true);
  expect(readdirSync(directory).sort()).toEqual(["note.txt", "one.json", "open.json"]);
});
