import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { exitCode, needOf, type Outcome, outcomeOf, standingOf } from "../../../infra/fleet/outcome.ts";
import { fleetOutput, textOutput } from "../../../infra/fleet/output.ts";
import { objectionTo, type Reviewed } from "../../../infra/fleet/reviewed.ts";
import { errorsIn, lockHolder } from "../../../infra/fleet/stack-run.ts";
import type { HostPlan } from "../../../infra/plan/types.ts";

const PLAN: HostPlan = {
  host: "orange-1",
  unreachable: null,
  pool: {
    ...{ name: "default", main: "default", driver: null, mode: "n/a", sizeBytes: null, freeBytes: null },
    ...{ decision: null, cowDecision: null },
  },
  ...{ storage: [], migrations: [] },
  ...{ launches: [], actions: [], refusals: [], remarks: [], containers: [], protectedAgents: [] },
};
const ACTION = { kind: "create-agent" as const, object: "container iris", reason: "made" };
const TODO = { ...PLAN, actions: [ACTION] };
const REFUSED = {
  ...TODO,
  refusals: [{ severity: "error" as const, object: "pool default", reason: "gone", remedy: "Mend it." }],
};
const OFF = { ...PLAN, unreachable: "it is off" };

describe("the outcome of a look", () => {
  it.each([
    [PLAN, "current", "nothing", "unchanged", "unchanged"],
    [PLAN, "never", "record", "changes", "changes"],
    [PLAN, "state", "record", "changes", "changes"],
    [TODO, "current", "changes", "changes", "drifted"],
    [TODO, "config", "changes", "changes", "changes"],
    [TODO, "program", "changes", "changes", "changes"],
    [REFUSED, "current", "refused", "refused", "refused"],
    [OFF, "current", "unreachable", "unreachable", "unreachable"],
  ] as const)("case %#: by plan and record", (plan, standing, kind, look, drift) => {
    const need = needOf(plan, standing);
    expect(need.kind).toBe(kind);
    expect(outcomeOf(need, standing, "look")).toBe(look);
    expect(outcomeOf(need, standing, "drift")).toBe(drift);
  });

  it("goes by the record of the last up", () => {
    const applied = { config: "c", program: "p", state: "2026-01-01", at: "2026-01-02" };
    const wanted = { config: "c", program: "p" };
    expect(standingOf({ applied, state: "2026-01-01" }, wanted)).toBe("current");
    expect(standingOf({ applied, state: "2026-01-09" }, wanted)).toBe("state");
    expect(standingOf({ applied, state: null }, wanted)).toBe("never");
    expect(standingOf({ applied: null, state: "2026-01-01" }, wanted)).toBe("never");
    expect(standingOf({ applied, state: "2026-01-01" }, { ...wanted, config: "d" })).toBe("config");
    expect(standingOf({ applied, state: "2026-01-01" }, { ...wanted, program: "q" })).toBe("program");
  });
});

describe("the exit code", () => {
  const bits = {
    ...{ unchanged: 0, changed: 0, paused: 0, changes: 2, untouched: 2, interrupted: 2 },
    ...{ unreachable: 4, refused: 8, locked: 8, failed: 16, drifted: 32 },
  } satisfies Record<Outcome, number>;
  const outcome = fc.constantFrom(...(Object.keys(bits) as Outcome[]));

  it("has the bit of each outcome that occurred, and no other", () => {
    fc.assert(
      fc.property(fc.array(outcome), (outcomes) => {
        const code = exitCode(outcomes);
        for (const bit of [2, 4, 8, 16, 32])
          expect((code & bit) !== 0).toBe(outcomes.some((one) => bits[one] === bit));
        expect(code & ~62).toBe(0);
      }),
    );
  });
});

describe("a reviewed plan", () => {
  const digests = { config: "c", program: "p" };
  const reviewed: Reviewed = {
    version: 1,
    commit: "0123456789abcdef",
    hosts: { "orange-1": { ...digests, actions: ["create-agent container iris", "migrate container mary"] } },
  };
  const object = (plan: HostPlan, now = digests, of = reviewed) => objectionTo(of, "orange-1", plan, now);

  it("is applied as it is, or what is left of it", () => {
    expect(object(TODO)).toBeUndefined();
    expect(object(PLAN)).toBeUndefined();
  });

  it("is refused with what differs", () => {
    const more = {
      ...TODO,
      actions: [ACTION, { ...ACTION, kind: "recreate-pool" as const, object: "pool default" }],
    };
    expect(object(more)).toMatch(/now also: recreate-pool pool default\./);
    expect(object(TODO, { ...digests, config: "d" })).toMatch(
      /^its config is another .* at commit 0123456789ab\./,
    );
    expect(object(TODO, { ...digests, program: "q" })).toMatch(/^the program is another/);
    expect(object(TODO, digests, { ...reviewed, hosts: {} })).toMatch(/^it is not among/);
    const off = { ...reviewed, hosts: { "orange-1": { ...digests, actions: null } } };
    expect(object(TODO, digests, off)).toMatch(/^it did not answer when/);
  });
});

describe("the output of a run", () => {
  it("tells who holds a locked stack", () => {
    const lines = [
      "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end …",
      "  file:///x/locks/1.json: created by root@runner (pid 4711) at 2026-01-01T00:00:00Z",
    ];
    expect(lockHolder(lines)).toBe("root@runner (pid 4711) at 2026-01-01T00:00:00Z");
    expect(lockHolder(["error: [409] Conflict: Another update is currently in progress."])).toBe(
      "another run",
    );
    expect(lockHolder(["error: update failed"])).toBeUndefined();
  });

  it("tells what went wrong, once, without the frames around it", () => {
    const lines = [
      "    error: 1 error occurred:",
      "    \t* no space left",
      "    error: update failed",
      "  * no space left",
    ];
    expect(errorsIn(lines)).toBe("no space left");
    expect(errorsIn(["fine"])).toBe("it ended without saying why");
  });
});

describe("the output of a command", () => {
  const result = { wave: 1, paused: null, pulumi: false, seconds: null, log: null, plan: null };
  const output = fleetOutput("up", 4, [
    { ...result, host: "orange-1", outcome: "unchanged", reason: "nothing to do" },
    { ...result, host: "a", outcome: "unreachable", reason: "it is\noff", paused: "at work" },
  ]);

  it("counts hosts by outcome", () => {
    expect(output).toMatchObject({ version: 1, exitCode: 4, counts: { unchanged: 1, unreachable: 1 } });
  });

  it("is a table with a line for each host", () => {
    expect(textOutput(output)).toBe(
      [
        "host      wave  outcome      why",
        "orange-1  1     unchanged    nothing to do",
        "a         1     unreachable  it is off; paused: at work",
        "",
        "2 hosts: 1 unchanged, 1 unreachable",
        "",
      ].join("\n"),
    );
  });
});
