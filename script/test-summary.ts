/**
 * `test-summary.ts REPORT STATUS`: prints "N passed, N failed" from vitest's JSON report, and before it each test that
 * passed at its second try only, with the first one's reason.
 */
import { readFileSync } from "node:fs";
import { relative } from "node:path";

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  testResults?: {
    /** The file. */
    name: string;
    assertionResults: {
      fullName: string;
      status: string;
      /** Of all tries: a test that passed has some where the one before failed. */
      failureMessages: string[] | null;
    }[];
  }[];
}

function read(path: string): Report {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Report;
  } catch {
    return { numPassedTests: 0, numFailedTests: 0 };
  }
}

/** `file: test: reason` of each test that failed first and passed then. */
function retried({ testResults = [] }: Report): string[] {
  return testResults.flatMap(({ name, assertionResults }) =>
    assertionResults
      .filter(({ status, failureMessages }) => status === "passed" && (failureMessages ?? []).length > 0)
      .map(({ fullName, failureMessages }) => {
        // What comes after the message is the stack.
        const [reason = ""] = (failureMessages?.[0] ?? "").split(/\n\s+at /);
        return `${relative(process.cwd(), name)}: ${fullName}: ${reason.trim().replaceAll("\n", "\n    ")}`;
      }),
  );
}

const [path = "", status = "1"] = process.argv.slice(2);
const report = read(path);
const again = retried(report);
if (again.length > 0) {
  console.log(`Passed at the second try only, because the first one failed (${again.length}):`);
  for (const line of again) console.log(`  ${line}`);
}
// A file that does not load, or a stray rejection, fails the run without failing a test.
const failed = status === "0" ? report.numFailedTests : Math.max(report.numFailedTests, 1);
console.log(`${report.numPassedTests} passed, ${failed} failed`);
