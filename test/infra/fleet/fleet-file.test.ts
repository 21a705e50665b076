import { readFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseStackYaml } from "../../../infra/config/stack-yaml.ts";
import { parseFleet } from "../../../infra/fleet/fleet-file.ts";
import { merge } from "../../../infra/fleet/merge.ts";
import { shownText } from "../../../infra/fleet/stack-text.ts";

const parse = (text: string) => parseFleet(text, "fleet.yaml");
const leaf = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null), fc.array(fc.integer()));
const { tree } = fc.letrec((tie) => ({
  tree: fc.oneof({ maxDepth: 3 }, leaf, tie("map")),
  map: fc.dictionary(fc.constantFrom("a", "b", "c", "d"), tie("tree")),
}));
const map = fc.dictionary(fc.constantFrom("a", "b", "c", "d"), tree);
const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Paths of everything that is no map, or an empty one, with its value. */
function leaves(value: unknown, path: string[] = []): [string, unknown][] {
  if (!isMap(value) || Object.keys(value).length === 0) return [[path.join("."), value]];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, [...path, key]));
}

/** Whether a map ends before a path at a level that has not its next key. */
function saysNothingOf(own: unknown, [key, ...rest]: string[]): boolean {
  if (key === undefined || !isMap(own)) return false;
  return !Object.hasOwn(own, key) || saysNothingOf(own[key], rest);
}

const byPath = ([a]: [string, unknown], [b]: [string, unknown]): number => (a < b ? -1 : 1);

describe("the merge rule", () => {
  it("keeps everything that the host says, of the defaults what it does not speak of, and nothing else", () => {
    fc.assert(
      fc.property(map, map, (defaults, own) => {
        const merged = leaves(merge(defaults, own)).filter(([, value]) => !isMap(value));
        const kept = leaves(defaults).filter(([path]) => saysNothingOf(own, path.split(".")));
        const wanted = [...leaves(own), ...kept].filter(([, value]) => !isMap(value));
        expect(merged.toSorted(byPath)).toEqual(wanted.toSorted(byPath));
      }),
    );
  });

  it("has no effect by an empty side, is idempotent and associative", () => {
    fc.assert(
      fc.property(map, map, (a, b) => {
        expect(merge(a, {})).toEqual(a);
        expect(merge({}, a)).toEqual(a);
        expect(merge(a, a)).toEqual(a);
        expect(merge(a, merge(a, b))).toEqual(merge(a, b));
      }),
    );
  });

  it.each([
    [{ images: ["a", "b"] }, { images: ["c"] }, { images: ["c"] }],
    [{ pool: { size: 1, name: "x" } }, { pool: { size: 2 } }, { pool: { size: 2, name: "x" } }],
    [{ agents: { iris: {} } }, { agents: null }, { agents: null }],
    [{ t: { secure: "v1:a" } }, { t: { secure: "v1:b" } }, { t: { secure: "v1:b" } }],
    [{ t: "clear" }, { t: { secure: "v1:b" } }, { t: { secure: "v1:b" } }],
  ])("%j with %j is %j", (defaults, own, merged) => {
    expect(merge(defaults, own)).toEqual(merged);
  });
});

describe("a fleet file", () => {
  const text = `
defaults:
  pool: {size: 6GiB}
  agents:
    iris: {image: taos-base, environment: {TOKEN: hidden-in-clear, NUMBER: 0123}, config: {day: 2023-06-01}}
hosts:
  orange-1: {connection: "unix:/one", tags: [canary]}
  orange-2:
    connection: unix:/two
    agents: {iris: {environment: {KEY: {secure: "v1:AAAA:BBBB"}}}}
    paused: its owner is at work
encryptionsalt: "v1:salt"
`;

  it("comes to a stack config for each host that the stack's own reader takes as it is meant", () => {
    const { hosts } = parse(text);
    const read = hosts.map((host) => parseStackYaml(host.text));
    expect(read).toMatchObject([
      { hosts: { "orange-1": { connection: "unix:/one", pool: { size: "6GiB" } } }, encrypted: [] },
      { encrypted: [["orange-2", "agents", "iris", "environment", "KEY"]] },
    ]);
    expect(read[1]).toMatchObject({
      hosts: { "orange-2": { agents: { iris: { environment: { NUMBER: "0123", KEY: "(secret)" } } } } },
    });
    expect(hosts.map((host) => host.text.includes("encryptionsalt"))).toEqual([false, true]);
    expect(hosts.map(({ paused }) => paused)).toEqual([null, "its owner is at work"]);
  });

  it("shows no secret: neither one in clear nor the value of an encrypted one", () => {
    const shown = parse(text)
      .hosts.map((host) => shownText(host.text))
      .join("");
    expect(shown).not.toContain("hidden-in-clear");
    expect(shown).toContain('secure: "v1:AAAA:BBBB"');
    expect(shown).toContain("2023-06-01");
  });

  it.each([
    ["{hosts: {orange-3: {pool: {size: 7GB7}}}}", /^hosts\.orange-3\.pool\.size: "7GB7" is no size/m],
    [
      "{defaults: {pool: {sise: 1GiB}}, hosts: {a: {}, b: {connection: 'unix:/b'}}}",
      /^defaults\.pool\.sise: unknown key\. Did you mean size\?$/m,
    ],
    ["{hosts: {a: {tags: canary}}}", /^hosts\.a\.tags: must be a list\.$/m],
    ["{hosts: {'a b': {}}}", /^hosts\.a b: a host's name must be letters/m],
    ["{hosts: {}}", /^hosts: must have at least one host\.$/m],
    ["{host: {a: {}}}", /^host: unknown key\. Did you mean hosts\?$/m],
    ["{hosts: {a: {}, b: {}}}", /^hosts\.b\.connection: is that of host "a", in the same project\.$/m],
    ["{hosts: {a: {}}, waves: [{hosts: [b]}]}", /^waves\[0\]\.hosts\[0\]: there is no host "b"\.$/m],
    [
      "{hosts: {a: {}}, waves: [{hosts: [a]}, {hosts: [a]}]}",
      /^waves\[1\]\.hosts\[0\]: host "a" is in a wave already\.$/m,
    ],
    ["{hosts: {a: {}}, waves: [{tag: x}]}", /^waves\[0\]\.tag: no host has the tag "x"\.$/m],
    [
      "{hosts: {a: {}}, waves: [{tag: x, count: 1}]}",
      /^waves\[0\]: must have one of hosts, tag, count, percent\.$/m,
    ],
    [
      "{hosts: {a: {}}, waves: [{percent: 101}]}",
      /^waves\[0\]\.percent: must be a whole number from 1 to 100\.$/m,
    ],
    ["{hosts: {a: {}}, waves: [{count: 1, health: ./x}]}", /^waves\[0\]\.health: must be a list\.$/m],
    ["{hosts: {a: {}}, paused: ''}", /^paused: must say something\.$/m],
    ["hosts: [", /^fleet\.yaml is no YAML/m],
  ])("%s is refused with its path", (wrong, message) => {
    expect(() => parse(wrong)).toThrow(message);
  });

  it("is what docs/fleet.md has as its example", async () => {
    const page = await readFile(join(import.meta.dirname, "../../../docs/fleet.md"), "utf8");
    const { hosts, waves } = parse(/```yaml\n(.*?)```/s.exec(page)?.[1] ?? "");
    expect(waves.map((wave) => wave.hosts)).toEqual([["orange-1"], ["orange-2"], ["orange-3"]]);
    expect(hosts.map(({ config }) => config.pool.size)).toEqual([50, 20, 50].map((gib) => gib * 1024 ** 3));
  });

  it("names a wrong default once, however many hosts have it", () => {
    const hosts = ["a", "b", "c"].map((name) => `${name}: {connection: "unix:/${name}"}`).join(", ");
    expect(() => parse(`{defaults: {migrateParallel: 99}, hosts: {${hosts}}}`)).toThrow(/There is 1 mistake/);
  });

  it("pauses all hosts where it is paused itself", () => {
    const { hosts } = parse("{paused: holidays, hosts: {a: {paused: x}, b: {connection: 'unix:/b'}}}");
    expect(hosts.map(({ paused }) => paused)).toEqual(["holidays", "holidays"]);
  });
});
