/** `test-summary.ts REPORT STATUS`: prints "N passed, N failed" from vitest's JSON report. */
import { readFileSync } from "node:fs";

interface Report {
  numPassedTests: number;
  numFailedTests: number;
}

function read(path: string): Report {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Report;
  } catch {
    return { numPassedTests: 0, numFailedTests: 0 };
  }
}

const [path = "", status = "1"] = process.argv.slice(2);
const report = read(path);
// A file that does not load, or a stray rejection, fails the run without failing a test.
const failed = status === "0" ? report.numFailedTests : Math.max(report.numFailedTests, 1);
console.log(`${report.numPassedTests} passed, ${failed} failed`);
