import { copyFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, expect, it } from "vitest";
import { until } from "../testbed/deadline.ts";

const script = join(import.meta.dirname, "../../script/dead-run.sh");

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "dead-run-"));
  await copyFile("/bin/sleep", join(directory, "pulumi"));
});
afterEach(() => rm(directory, { recursive: true }));

async function isLiveRun(pid: number | string): Promise<boolean> {
  const source = `. "${script}"; is_live_run "$1"`;
  return (await execa("bash", ["-c", source, "bash", String(pid)], { reject: false })).exitCode === 0;
}

it("takes a run that was killed for dead, also while nobody has reaped it", async () => {
  // A shell that becomes another program never reaps the child it had.
  const line = `"${join(directory, "pulumi")}" 60 & echo $!; exec sleep 60`;
  const parent = execa("sh", ["-c", line], { reject: false });
  try {
    let pid = 0;
    parent.stdout.once("data", (chunk: Buffer) => {
      pid = Number(chunk.toString());
    });
    await until(async () => pid > 0 && (await isLiveRun(pid)), { what: "a run that lives" });
    process.kill(pid, "SIGKILL");
    const status = (): Promise<string> => readFile(`/proc/${pid}/status`, "utf8");
    await until(async () => (await status()).includes("State:\tZ"), { what: "a zombie" });
    expect(await status()).toContain("Name:\tpulumi");
    expect(await isLiveRun(pid)).toBe(false);
  } finally {
    parent.kill("SIGKILL");
    await parent;
  }
});

it("takes no other program, and no missing number, for a run", async () => {
  expect(await isLiveRun(process.pid)).toBe(false);
  expect(await isLiveRun("")).toBe(false);
});
