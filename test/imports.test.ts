import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "..");

interface Import {
  from: string;
  /** Path from the root for a relative import, else the package. */
  to: string;
}

function sources(directory: string): string[] {
  return readdirSync(join(ROOT, directory), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !file.includes("node_modules"))
    .map((file) => join(directory, file));
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(ROOT, file), "utf8");
  return [...text.matchAll(/^(?:import|export)[^;"]*from "([^"]+)";/gm)].map(([, specifier = ""]) => ({
    from: file,
    to: specifier.startsWith(".") ? normalize(join(dirname(file), specifier)) : specifier,
  }));
}

/** Imports of a directory that none of these prefixes allows. */
function strays(directory: string, allowed: string[]): string[] {
  return sources(directory)
    .flatMap(importsOf)
    .filter(({ to }) => !allowed.some((prefix) => to.startsWith(prefix)))
    .map(({ from, to }) => `${relative(".", from)} imports ${to}`);
}

/** Rooms in their order: each imports from those before it, and from its own. */
const ROOMS = {
  infra: [
    "config",
    "facts",
    "plan",
    "report",
    "health",
    "run",
    "host",
    "policy",
    "index.ts",
    "fleet",
    "page",
    "commands",
  ],
  providers: [
    ...["common", "incus", "marks", "owner-rename.ts", "project", "pulumi", "host"],
    ...["migration", "parking", "placement"],
    ...["pool", "profile", "network", "instance", "image", "index.ts", "resources.ts"],
  ],
};

/** The folder below the tree's root, or the file that lies there. */
function roomOf(file: string): string {
  return file.split("/")[1] ?? "";
}

/** Ways by which a file comes to import itself, each once: from its first file in alphabetical order. */
function circlesFrom(start: string, imports: ReadonlyMap<string, readonly string[]>): string[] {
  const circles: string[] = [];
  const seen = new Set<string>();
  const follow = (file: string, way: readonly string[]): void => {
    for (const to of imports.get(file) ?? []) {
      if (to === start) circles.push([...way, to].join(" > "));
      else if (to > start && !seen.has(to)) {
        seen.add(to);
        follow(to, [...way, to]);
      }
    }
  };
  follow(start, [start]);
  return circles;
}

describe("imports point one way", () => {
  it("finds the sources it judges", () => {
    expect(sources("infra").length).toBeGreaterThan(5);
    expect(sources("providers/incus").length).toBeGreaterThan(5);
  });

  it("infra reaches the provider package by its name only", () => {
    const packages = ["node:", "@pulumi/", "@taos-hosts/providers", "zod", "yaml", "execa"];
    expect(strays("infra", ["infra/", ...packages])).toEqual([]);
    const deep = sources("infra")
      .flatMap(importsOf)
      .filter(({ to }) => to.startsWith("@taos-hosts/providers/"));
    expect(deep).toEqual([{ from: "infra/host/host.ts", to: "@taos-hosts/providers/resources" }]);
  });

  // It takes half a second to load, which a look at a host does not need.
  it("Pulumi's SDK is loaded by what declares resources alone", () => {
    const users = [...sources("infra"), ...sources("providers")]
      .filter((file) => !file.startsWith("infra/host/"))
      .filter((file) => importsOf(file).some(({ to }) => to === "@pulumi/pulumi"));
    expect(users).toEqual(["infra/index.ts", "providers/resources.ts"]);
  });

  it("the provider package knows nothing of infra, stacks or tests", () => {
    expect(
      strays("providers", ["providers/", "node:", "@pulumi/pulumi", "zod", "execa", "undici", "yaml"]),
    ).toEqual([]);
  });

  it("planner, report, page and the judgment of health do no I/O", () => {
    const rooms = ["plan", "report", "health", "page"];
    const pure = rooms.flatMap((room) => sources(`infra/${room}`)).flatMap(importsOf);
    expect(pure.filter(({ to }) => to.startsWith("node:") || to.startsWith("@pulumi/"))).toEqual([]);
  });

  it.each(["infra", "providers"] as const)("%s: a room imports only from those before it", (tree) => {
    const rooms = ROOMS[tree];
    const unknown = sources(tree).filter((file) => !rooms.includes(roomOf(file)));
    expect(unknown).toEqual([]);
    const upward = sources(tree)
      .flatMap(importsOf)
      .filter(({ to }) => to.startsWith(`${tree}/`))
      .filter(({ from, to }) => rooms.indexOf(roomOf(to)) > rooms.indexOf(roomOf(from)))
      .map(({ from, to }) => `${from} imports ${to}`);
    expect(upward).toEqual([]);
  });

  it("files and processes of a host are reached by one file alone", () => {
    const local = ["node:fs", "node:fs/promises", "node:child_process", "execa"];
    const users = new Set(
      sources("providers")
        .flatMap(importsOf)
        .filter(({ to }) => local.includes(to))
        .map(({ from }) => from),
    );
    expect([...users].sort()).toEqual([
      "providers/host/local-machine.ts",
      // Files that the person gives: images, certificates.
      "providers/image/download.ts",
      "providers/image/import.ts",
      "providers/incus/certificates.ts",
      "providers/incus/connection.ts",
      "providers/incus/images.ts",
      "providers/incus/remotes.ts",
      // The way to another machine.
      "providers/incus/ssh-login.ts",
      // Of this run's own process.
      "providers/migration/record/machine.ts",
    ]);
    const killers = sources("providers").filter((file) =>
      readFileSync(join(ROOT, file), "utf8").includes("process.kill("),
    );
    expect(killers).toEqual(["providers/host/local-machine.ts"]);
  });

  it("no file imports itself by way of others", () => {
    const files = [...sources("infra"), ...sources("providers")];
    const imports = new Map(files.map((file) => [file, importsOf(file).map(({ to }) => to)]));
    expect(files.flatMap((file) => circlesFrom(file, imports))).toEqual([]);
  });

  it("finds a circle where there is one", () => {
    const imports = new Map([
      ["a.ts", ["b.ts"]],
      ["b.ts", ["c.ts", "zod"]],
      ["c.ts", ["a.ts"]],
    ]);
    expect(circlesFrom("a.ts", imports)).toEqual(["a.ts > b.ts > c.ts > a.ts"]);
  });
});
