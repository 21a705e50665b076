import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Plan, planHosts } from "../../../infra/plan/plan.ts";
import { holdToPreview } from "../../../infra/run/previewed-plan.ts";

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

function hold(run: string, plan: Plan, isPreview: boolean): boolean {
  vi.stubEnv("TAOS_HOSTS_RUN_ID", run);
  return holdToPreview(plan, isPreview, directory);
}

test("an update takes what its preview said away, and no other run's", () => {
  expect(hold("one", planOf("container iris"), true)).toBe(false);
  expect(hold("two", planOf(), true)).toBe(false);
  expect(hold("one", planOf("container iris"), false)).toBe(true);
  expect(readdirSync(directory)).toEqual(["two.json"]);
});

test("an update that differs from its preview is refused, naming what differs, and leaves nothing behind", () => {
  hold("one", planOf("container iris"), true);
  expect(() => hold("one", planOf("container rose"), false)).toThrow(
    /now also: board: create-agent container rose\nno longer: board: create-agent container iris/,
  );
  expect(readdirSync(directory)).toEqual([]);
});

test("an update without a preview is held to nothing", () => {
  expect(hold("one", planOf("container iris"), false)).toBe(false);
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
