/**
 * `test-summary.ts REPORT STATUS [SECOND]`: prints "N passed, N failed" from vitest's JSON report of a run that ended
 * with STATUS, and before it each test that passed only when its file was run again (report SECOND), with the first
 * one's reason. `test-summary.ts --failed-files REPORT` prints the files that have to be run again, one a line.
 */
import { readFileSync } from "node:fs";
import { relative } from "node:path";

interface TestResult {
  fullName: string;
  status: string;
  failureMessages: string[] | null;
}

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  /** By file. */
  testResults: { name: string; status: string; assertionResults: TestResult[] }[];
}

function read(path: string | undefined): Report {
  try {
    return JSON.parse(readFileSync(path ?? "", "utf8")) as Report;
  } catch {
    return { numPassedTests: 0, numFailedTests: 0, testResults: [] };
  }
}

/** Tests of a report that ended so: `file: test`, with the reason of those that failed. */
function testsOf({ testResults }: Report, status: "passed" | "failed"): Map<string, string> {
  const tests = testResults.flatMap(({ name, assertionResults }) =>
    assertionResults
      .filter((one) => one.status === status)
      .map(({ fullName, failureMessages }): [string, string] => {
        // What comes after the message is the stack.
        const [reason = ""] = (failureMessages?.[0] ?? "").split(/\n\s+at /);
        return [`${relative(process.cwd(), name)}: ${fullName}`, reason.trim().replaceAll("\n", "\n    ")];
      }),
  );
  return new Map(tests);
}

function summary(first: Report, second: Report | undefined, hasFailed: boolean): string[] {
  const passedThen = second ? testsOf(second, "passed") : new Map<string, string>();
  const again = [...testsOf(first, "failed")].filter(([test]) => passedThen.has(test));
  const failed = second ? second.numFailedTests : first.numFailedTests;
  return [
    ...(again.length > 0
      ? [`Passed at the second try only, because the first one failed (${again.length}):`]
      : []),
    ...again.map(([test, reason]) => `  ${test}: ${reason}`),
    // A file that does not load, or a stray rejection, fails the run without failing a test.
    `${first.numPassedTests + again.length} passed, ${hasFailed ? Math.max(failed, 1) : failed} failed`,
  ];
}

const [path = "", status = "1", second] = process.argv.slice(2);
if (path === "--failed-files") {
  for (const { name, status: outcome } of read(status).testResults)
    if (outcome === "failed") console.log(relative(process.cwd(), name));
} else {
  const then = second === undefined ? undefined : read(second);
  for (const line of summary(read(path), then, status !== "0")) console.log(line);
}
