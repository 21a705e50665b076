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

const options = () => ({ cwd: projectRoot, reject: false, stdin: "ignore" }) as const;

/** Runs one test file and returns vitest's report and exit code. */
async function runOf(name: string, body: string): Promise<{ report: string; status: string }> {
  await writeFile(join(directory, "sample.test.js"), `import { it } from "vitest";\n${body}\n`);
  const report = join(directory, `${name}.json`);
  const vitest = join(projectRoot, "node_modules/vitest/vitest.mjs");
  const { exitCode } = await execa(
    process.execPath,
    [vitest, "run", "--root", directory, "--reporter=json", `--outputFile.json=${report}`],
    options(),
  );
  return { report, status: String(exitCode) };
}

async function summary(...args: string[]): Promise<string[]> {
  const { stdout } = await execa(process.execPath, ["script/test-summary.ts", ...args], options());
  return stdout.split("\n");
}

const WORKS = 'it("works", () => {});\n';
const FALTERS = 'it("falters", () => { throw new Error("no address yet"); });';

describe("the summary of a test run", () => {
  it("names what passed only when its file was run again, with the first one's reason", async () => {
    const first = await runOf("first", WORKS + FALTERS);
    expect(await summary("--failed-files", first.report)).toEqual([
      expect.stringMatching(/test\/script\/summary-\w+\/sample\.test\.js$/),
    ]);
    const second = await runOf("second", `${WORKS}it("falters", () => {});`);
    expect(await summary(first.report, second.status, second.report)).toEqual([
      "Passed at the second try only, because the first one failed (1):",
      expect.stringMatching(/sample\.test\.js: falters: Error: no address yet$/),
      "2 passed, 0 failed",
    ]);
  });

  it("counts what failed both times, and says no more of what passed at once", async () => {
    const first = await runOf("first", WORKS + FALTERS);
    expect(await summary(first.report, first.status, first.report)).toEqual(["1 passed, 1 failed"]);
    const good = await runOf("good", WORKS);
    expect(await summary(good.report, good.status)).toEqual(["1 passed, 0 failed"]);
    expect(await summary("--failed-files", good.report)).toEqual([""]);
  });

  it("fails with a file that does not load", async () => {
    const broken = await runOf("broken", 'import "./nowhere.js";');
    expect(await summary("--failed-files", broken.report)).toEqual([
      expect.stringMatching(/sample\.test\.js$/),
    ]);
    expect(await summary(broken.report, broken.status)).toEqual(["0 passed, 1 failed"]);
  });
});
