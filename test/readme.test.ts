import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { parseHosts } from "../infra/config/config.ts";

const ROOT = join(import.meta.dirname, "..");
const LONGEST_README = 150;
/** Scripts of npm's own, which run without "run". */
const BARE_SCRIPTS = ["test"];
/** Stack that the documentation has its reader make. */
const READERS_OWN = ["orchard"];

const read = (file: string): string => readFileSync(join(ROOT, file), "utf8");

const documents = [
  ...["README.md", "CONTRIBUTING.md", "CHANGELOG.md"],
  ...readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".md"))
    .map((file) => join("docs", file)),
];

/** Every capture of a pattern in a text, once. */
function found(text: string, pattern: RegExp): string[] {
  return [...new Set([...text.matchAll(pattern)].map(([, capture = ""]) => capture))];
}

describe.each(documents)("%s", (file) => {
  const text = read(file);

  it("names npm scripts that exist", () => {
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
    const named = found(text, /npm run ([a-z]+)/g);
    if (/\bnpm test\b/.test(text)) named.push(...BARE_SCRIPTS);
    expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
  });

  it("names stacks that are shipped", () => {
    const stacks = [
      ...found(text, /--stack ([a-z][a-z0-9-]*)/g),
      ...found(text, /stacks\/Pulumi\.([a-z0-9-]+)\.yaml/g),
    ];
    const missing = stacks.filter(
      (stack) => !READERS_OWN.includes(stack) && !existsSync(join(ROOT, `stacks/Pulumi.${stack}.yaml`)),
    );
    expect(missing).toEqual([]);
  });

  it("links to files that exist", () => {
    const links = found(text, /\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)/g);
    expect(links.filter((link) => !existsSync(join(ROOT, normalize(join(dirname(file), link)))))).toEqual([]);
  });

  it("links to headings that exist", () => {
    const anchors = [...text.matchAll(/\]\((?!https?:)([^)#\s]*)#([^)]+)\)/g)];
    const missing = anchors.filter(([, link = "", anchor = ""]) => {
      const target = link === "" ? file : normalize(join(dirname(file), link));
      const headings = found(read(target), /^#+ (.+)$/gm).map((heading) =>
        heading
          .toLowerCase()
          .replaceAll(/[^a-z0-9 -]/g, "")
          .replaceAll(" ", "-"),
      );
      return !headings.includes(anchor);
    });
    expect(missing.map(([whole]) => whole)).toEqual([]);
  });

  it("names scripts of the clone that exist", () => {
    const scripts = found(text, /(?:^|[\s`"(])(script\/[a-z][a-z/.-]*[a-z])/gm);
    expect(scripts.filter((script) => !existsSync(join(ROOT, script)))).toEqual([]);
  });
});

describe("README.md", () => {
  it(`has at most ${LONGEST_README} lines`, () => {
    expect(read("README.md").trimEnd().split("\n").length).toBeLessThanOrEqual(LONGEST_README);
  });

  it("links every resource's page", () => {
    const pages = readdirSync(join(ROOT, "docs/resources"));
    expect(pages).toHaveLength(6);
    for (const page of pages) expect(read("README.md")).toContain(`docs/resources/${page}`);
  });
});

describe("docs/configuration.md", () => {
  it("names every key of a host, with its default where that is a word", () => {
    const text = read("docs/configuration.md");
    const {
      name: _name,
      connection: _connection,
      ...host
    } = Object.values(parseHosts({ h: { agents: { a: { image: "i" } }, containers: { c: {} } } }))[0] ?? {
      name: "",
      connection: "",
    };
    const { pool, optIn, agents, containers, ...rest } = host as Record<string, Record<string, object>>;
    const keys = [
      ...["connection", "tls", "pool", "optIn", "agents", "containers", ...Object.keys(rest)],
      ...["size", ...Object.keys(pool ?? {}), ...Object.keys(optIn ?? {})],
      ...["memory", "cpu", "disk", "idmapUid", ...Object.keys(agents?.["a"] ?? {})],
      ...["health", ...Object.keys(containers?.["c"] ?? {})],
    ];
    expect(keys.length).toBeGreaterThan(30);
    expect([...new Set(keys)].filter((key) => !new RegExp(`[*]${key}[*]`).test(text))).toEqual([]);
  });
});

describe("stacks", () => {
  it.each(readdirSync(join(ROOT, "stacks")).filter((file) => file.startsWith("Pulumi.")))(
    "%s is a config that is accepted",
    (file) => {
      const { config } = parse(read(join("stacks", file))) as { config: Record<string, unknown> };
      expect(() => parseHosts(config["taos-hosts:hosts"])).not.toThrow();
    },
  );
});
