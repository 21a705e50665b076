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
    expect(deep).toEqual([]);
  });

  it("the provider package knows nothing of infra, stacks or tests", () => {
    expect(strays("providers", ["providers/", "node:", "@pulumi/pulumi", "zod", "execa", "undici"])).toEqual(
      [],
    );
  });

  it("the Incus client knows nothing of resources or Pulumi", () => {
    const shared = ["providers/errors.ts", "providers/lifetime.ts"];
    expect(strays("providers/incus", ["providers/incus/", ...shared, "node:", "zod", "undici"])).toEqual([]);
  });

  it("planner and report do no I/O", () => {
    const pure = ["infra/plan.ts", "infra/report.ts", ...sources("infra/plan")].flatMap(importsOf);
    expect(pure.filter(({ to }) => to.startsWith("node:") || to.startsWith("@pulumi/"))).toEqual([]);
  });
});
