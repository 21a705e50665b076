import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { projectRoot } from "../pulumi/cli.ts";

/** Below the project, so that the test files find vitest. */
let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(projectRoot, "test/script/summary-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** Runs one test file with a retry, as the suite does, and returns the lines of the summary. */
async function summaryOf(body: string): Promise<string[]> {
  await writeFile(
    join(directory, "sample.test.js"),
    `import { it } from "vitest";\nlet tries = 0;\n${body}\n`,
  );
  const report = join(directory, "report.json");
  const options = { cwd: projectRoot, reject: false, stdin: "ignore" } as const;
  const vitest = join(projectRoot, "node_modules/vitest/vitest.mjs");
  const flags = ["run", "--root", directory, "--retry=1"];
  const { exitCode } = await execa(
    process.execPath,
    [vitest, ...flags, "--reporter=json", `--outputFile.json=${report}`],
    options,
  );
  const { stdout } = await execa(
    process.execPath,
    ["script/test-summary.ts", report, String(exitCode)],
    options,
  );
  return stdout.split("\n");
}

describe("the summary of a test run", () => {
  it("names what passed at the second try only, with the first one's reason", async () => {
    const lines = await summaryOf(
      'it("falters", () => { if (tries++ === 0) throw new Error("no address yet"); });',
    );
    expect(lines).toEqual([
      "Passed at the second try only, because the first one failed (1):",
      expect.stringMatching(/sample\.test\.js: falters: Error: no address yet$/),
      "1 passed, 0 failed",
    ]);
  });

  it("says no more than the counts of what passed at once or failed twice", async () => {
    const lines = await summaryOf(
      'it("works", () => {});\nit("fails", () => { throw new Error("never"); });',
    );
    expect(lines).toEqual(["1 passed, 1 failed"]);
  });
});
