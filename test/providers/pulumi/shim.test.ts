import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { KINDS, shimText } from "../../../providers/pulumi/shim.ts";
import { projectRoot } from "../../pulumi/cli.ts";

describe("what Pulumi keeps in state of a resource's code", () => {
  test.each(KINDS)("%s: a few lines that load the package by name, on any machine", (kind) => {
    const text = shimText(kind);
    expect(Buffer.byteLength(text)).toBeLessThan(4_096);
    expect(text).toContain('("@taos-hosts/providers")');
    expect(text).not.toContain(projectRoot);
    expect(text).not.toContain("__vite");
    expect(text).not.toMatch(/["'`]\/|file:\/\//);
  });

  // Old state holds these very texts. A change updates every resource of everybody, and old texts must go on working.
  test.each(KINDS)("%s: is what earlier runs stored", async (kind) => {
    expect(shimText(kind)).toBe(
      await readFile(join(import.meta.dirname, "shim-text", `${kind}.txt`), "utf8"),
    );
  });
});
