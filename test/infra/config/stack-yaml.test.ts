import { describe, expect, it } from "vitest";
import { parseHosts } from "../../../infra/config/config.ts";
import { withDecrypted, withoutFile } from "../../../infra/config/stack-config.ts";
import { ENCRYPTED, parseStackYaml, type StackYaml } from "../../../infra/config/stack-yaml.ts";

/** What stands under `taos-hosts:hosts`, given with the indentation that it has here. */
function read(hosts: string): StackYaml {
  const result = parseStackYaml(`config:\n  taos-hosts:hosts:\n${hosts}`);
  if ("problem" in result) throw new Error(result.problem);
  return result;
}

function problem(text: string): string {
  const result = parseStackYaml(text);
  return "problem" in result ? result.problem : "";
}

/** Each with what Pulumi 3.259 hands its program for it: recorded, not derived. */
const SCALARS: [written: string, read: unknown, given: unknown][] = [
  ["0644", "0644", 420],
  ["0123", "0123", 83],
  ["1122334455667788990", "1122334455667788990", Number("1122334455667788990")],
  ["99999999999999999999", "99999999999999999999", 1e20],
  ["1.10", "1.10", 1.1],
  ["1e3", "1e3", 1000],
  [".5", ".5", 0.5],
  ["0x1f", "0x1f", 31],
  ["0o17", "0o17", 15],
  ["1_000", "1_000", 1000],
  ["2023-06-01", "2023-06-01", "2023-06-01 00:00:00 +0000 UTC"],
  ["2023-06-01T10:00:00Z", "2023-06-01T10:00:00Z", "2023-06-01 10:00:00 +0000 UTC"],
  ["True", "True", true],
  ["true", true, true],
  ["yes", "yes", "yes"],
  ["8080", 8080, 8080],
  ["-1", -1, -1],
  ["1.5", 1.5, 1.5],
  ['"0644"', "0644", "0644"],
  ["!!str 0644", "0644", "0644"],
  ["~", null, null],
  ["", null, null],
];

describe("an unquoted value", () => {
  it.each(SCALARS)("%s is what is written, whatever Pulumi makes of it", (written, expected, given) => {
    const config = { file: "x", ...read(`    a: ${written}\n`) };
    expect(config.hosts).toEqual({ a: expected });
    expect(withDecrypted(config, { a: given })).toEqual({ a: expected });
  });

  it.each([
    ["0644", 421],
    ["8080", 8081],
    ["1.10", 1.2],
    ["2023-06-01", "2023-06-02 00:00:00 +0000 UTC"],
    ["x", "y"],
    ["x", ["x"]],
    ["[x]", ["x", "y"]],
    ["x", null],
    ["", ""],
    ["true", false],
  ])("%s is not what Pulumi read as %j: another file", (written, given) => {
    const config = { file: "stacks/Pulumi.x.yaml", ...read(`    a: ${written}\n`) };
    expect(() => withDecrypted(config, { a: given })).toThrow(
      /^Pulumi has another value at taos-hosts:hosts\.a(\[\d\])? than stacks\/Pulumi\.x\.yaml; nothing was done\./,
    );
  });

  it("is its text as a key, too", () => {
    const config = { file: "x", ...read("    0123: 1\n    2023-06-01: 2\n    7: 3\n") };
    expect(config.hosts).toEqual({ "0123": 1, "2023-06-01": 2, 7: 3 });
    const given = { "83": 1, "2023-06-01 00:00:00 +0000 UTC": 2, 7: 3 };
    expect(withDecrypted(config, given)).toEqual(config.hosts);
    expect(() => withDecrypted(config, { ...given, more: 1 })).toThrow(
      /another value at taos-hosts:hosts.more/,
    );
  });

  it("reaches agents as written, and a mode needs quotes where it is a number", () => {
    const agent = (mode: string): string =>
      `    orange:\n      agents:\n        iris:\n          image: bb\n          environment: {CHANNEL: 1122334455667788990, DAY: 2023-06-01, V: 1.10, N: 0123, PORT: 8080, ON: True}\n          config: {user.v: 2.0}\n          devices: {data: {type: disk, mode: 0660}}\n          files: [{path: /srv/a, content: x, mode: ${mode}}]\n`;
    for (const mode of ["0644", "0600", "0755", "0660"]) {
      const iris = parseHosts(read(agent(mode)).hosts)["orange"]?.agents["iris"];
      expect(iris?.environment).toEqual({
        CHANNEL: "1122334455667788990",
        DAY: "2023-06-01",
        V: "1.10",
        N: "0123",
        PORT: "8080",
        ON: "True",
      });
      expect(iris?.config).toEqual({ "user.v": "2.0" });
      expect(iris?.devices["data"]?.["mode"]).toBe("0660");
      expect(iris?.files[0]?.mode).toBe(mode);
    }
    // What Pulumi makes of 0644 and 0755 when it writes the file, and what nobody can tell from it.
    for (const mode of ["420", "493", "644", "4755", '"4755"', "01666"])
      expect(() => parseHosts(read(agent(mode)).hosts)).toThrow(
        /files\[0\]\.mode: must be octal in quotes, such as "0600"/,
      );
  });
});

describe("a stack file", () => {
  it("has aliases and merges resolved: what stands there itself wins, earlier maps before later ones", () => {
    const { hosts } = read(
      "    a: &a {connection: https://a:8443, project: p, list: &l [0644]}\n" +
        "    b: {<<: *a, project: q}\n    c: {project: q, <<: *a}\n    d: {<<: [{project: r}, *a], list: *l}\n",
    );
    const common = { connection: "https://a:8443", list: ["0644"] };
    expect(hosts).toEqual({
      a: { ...common, project: "p" },
      b: { ...common, project: "q" },
      c: { ...common, project: "q" },
      d: { ...common, project: "r" },
    });
  });

  it("has its encrypted values from Pulumi, all others from the file, and says where they are", () => {
    const config = {
      file: "x",
      ...read("    o: {list: [{secure: v1:a:b}, 1], s: &s {env: {T: {secure: v1:c:d}, V: 1.10}}, t: *s}\n"),
    };
    const paths = [
      ["o", "list", 0],
      ["o", "s", "env", "T"],
      ["o", "t", "env", "T"],
    ];
    expect(config.encrypted).toEqual(paths);
    expect(config.hosts).toMatchObject({
      o: { list: [ENCRYPTED, 1], t: { env: { T: ENCRYPTED, V: "1.10" } } },
    });
    const env = { T: "token", V: 1.1 };
    expect(withDecrypted(config, { o: { list: ["l", 1], s: { env }, t: { env } } })).toEqual({
      o: { list: ["l", 1], s: { env: { T: "token", V: "1.10" } }, t: { env: { T: "token", V: "1.10" } } },
    });
    expect(() =>
      withDecrypted(config, { o: { list: ["l", 1], s: { env }, t: { env: { V: 1.1 } } } }),
    ).toThrow(/another value at taos-hosts:hosts\.o\.t\.env\.T/);
  });

  it("without hosts has none; encrypted as a whole, it is refused", () => {
    expect(parseStackYaml("")).toEqual({ hosts: undefined, encrypted: [] });
    expect(parseStackYaml("config:\n  taos-hosts:hosts:\n")).toEqual({ hosts: null, encrypted: [] });
    expect(problem("config: {taos-hosts:hosts: {secure: v1:a:b}}")).toMatch(/encrypted as a whole/);
  });

  it.each([
    ["no YAML", "config: {a: [s3cret}"],
    ["a key twice", "config:\n  s3cret: 1\n  s3cret: 2"],
    ["a tag that only some readers know", "config:\n  a: !mine s3cret"],
    ["two documents", "config: s3cret\n---\nconfig: 2"],
    ["an alias of nothing", "config: {a: *s3}"],
    [
      "aliases without end",
      `a: &a [s3cret]\n${[..."bcdefghij"].map((n, i) => `${n}: &${n} [${`*${"abcdefghi"[i]},`.repeat(9)}]\n`).join("")}config: *j`,
    ],
  ])("with %s is refused without its values", (_, text) => {
    expect(problem(text)).toMatch(/^is no YAML: /);
    expect(problem(text)).not.toMatch(/s3cret/);
  });
});

describe("a config whose file is not to be found", () => {
  const given = (value: unknown) => ({
    orange: { agents: { iris: { image: "bb", config: { "user.x": value } } } },
  });

  it("is Pulumi's, with all that may have been encrypted as a secret", () => {
    expect(withoutFile("stacks/Pulumi.s.yaml", given("text"))).toMatchObject({
      hosts: given("text"),
      encrypted: expect.arrayContaining([["orange", "agents", "iris", "config"]]),
    });
  });

  it.each([83, "2023-06-01 00:00:00 +0000 UTC"])(
    "is refused where a text is no text any more: %s",
    (value) => {
      expect(() => withoutFile("stacks/Pulumi.s.yaml", given(value))).toThrow(
        /was not found from here.*in quotes.*orange\.agents\.iris\.config/s,
      );
    },
  );
});
