import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { projectRoot } from "../../pulumi/cli.ts";
import { KINDS, shimTexts } from "../../pulumi/shim-text.ts";

describe("what Pulumi keeps in state of a resource's code", () => {
  let texts: Record<string, string>;
  beforeAll(async () => {
    texts = await shimTexts();
  }, 60_000);

  test.each(KINDS)("%s: a few lines that load the package by name, on any machine", (kind) => {
    const text = texts[kind] ?? "";
    expect(Buffer.byteLength(text)).toBeLessThan(4_096);
    expect(text).toContain('("@taos-hosts/providers")');
    expect(text).not.toContain(projectRoot);
    expect(text).not.toContain("__vite");
    expect(text).not.toMatch(/["'`]\/|file:\/\//);
  });

  // Old state holds these very texts. A change updates every resource of everybody, and old texts must go on working.
  test.each(KINDS)("%s: is what earlier runs stored", async (kind) => {
    expect(texts[kind]).toBe(await readFile(join(import.meta.dirname, "shim-text", `${kind}.txt`), "utf8"));
  });
});
