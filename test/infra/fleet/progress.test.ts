import { PassThrough } from "node:stream";
import { describe, expect, it } from "vitest";
import type { HostResult } from "../../../infra/fleet/outcome.ts";
import { Progress } from "../../../infra/fleet/progress.ts";

const RESULT: HostResult = {
  ...{ host: "orange-1", wave: 1, outcome: "changed", reason: "3 done", paused: null },
  ...{ pulumi: true, seconds: 12, log: null, plan: null },
};

function recorded(terminal: object): { progress: Progress; text: () => string } {
  const stream = Object.assign(new PassThrough(), terminal);
  return { progress: new Progress(stream), text: () => String(stream.read() ?? "") };
}

describe("progress", () => {
  it("is a line for each event where nobody watches", () => {
    const { progress, text } = recorded({});
    progress.start("orange-1", "up");
    progress.line("orange-1", "creating");
    progress.note("wave 1: waiting 5 s");
    progress.end(RESULT);
    progress.close();
    expect(text()).toBe("orange-1: up\nwave 1: waiting 5 s\norange-1: changed in 12 s: 3 done\n");
  });

  it("keeps a line for each host that runs at the end of a terminal, within its width and without its commands", () => {
    const { progress, text } = recorded({ isTTY: true, columns: 40 });
    progress.start("orange-1", "up");
    progress.start("orange-2", "up");
    progress.line("orange-1", `\u001b[2J${"creating ".repeat(10)}`);
    progress.note("wave 1");
    const [note, first = "", second = ""] = text().split("\n");
    expect(note).toBe("wave 1");
    expect(first).toMatch(/^orange-1 {2}up {2}\d+ s {2} \[2Jcreating/);
    expect(first).toHaveLength(39);
    expect(second).toMatch(/^orange-2 {2}up {2}\d+ s$/);
    progress.end(RESULT);
    // Up over the two lines, away with them, and the one that still runs below what stays.
    const [redrawn, left = ""] = text().split("\n");
    expect(redrawn).toBe("\u001b[2A\u001b[1G\u001b[0Jorange-1: changed in 12 s: 3 done");
    expect(left).toMatch(/^orange-2 {2}up {2}\d+ s$/);
    progress.close();
    expect(text()).toBe("\u001b[1A\u001b[1G\u001b[0J");
  });
});
