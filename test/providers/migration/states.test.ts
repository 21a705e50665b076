import { readFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { deriveState, type Situation } from "../../../providers/migration/situation.ts";
import { type MigrationState, STATES } from "../../../providers/migration/states.ts";
import { STEPS } from "../../../providers/migration/steps.ts";
import { SAID } from "../../migration/said.ts";
import { statesOn } from "./points.ts";

const run = fc.constantFrom("this-run", "other-run");
const source = fc.record({
  id: fc.constantFrom("one", "two"),
  phase: fc.constantFrom("copying", "stopping", "parking"),
  wasRunning: fc.boolean(),
  running: fc.boolean(),
  lastUsedAt: fc.constantFrom("monday", "tuesday"),
  originals: fc.boolean(),
  undo: fc.option(fc.record({ run, keeps: fc.boolean() }), { nil: undefined }),
} as const);
const copy = fc.record({
  id: fc.constantFrom("one", "two"),
  phase: fc.constantFrom("seeding", "seeded", "verified", "dressed", "healthy", "returning"),
  verified: fc.option(fc.record({ run, lastUsedAt: fc.constantFrom("monday", "tuesday") }), {
    nil: undefined,
  }),
  running: fc.boolean(),
  isOfHolder: fc.boolean(),
} as const);
const situation: fc.Arbitrary<Situation> = fc
  .record(
    {
      run: fc.constant("this-run"),
      holder: fc.constantFrom("nobody", "source", "copy", "other"),
      source,
      copy,
      past: fc.constantFrom("holder", "elsewhere"),
    } as const,
    { requiredKeys: ["run", "holder"] },
  )
  .map((seen): Situation => {
    // Who holds the name exists.
    if ((seen.holder === "source" && !seen.source) || (seen.holder === "copy" && !seen.copy))
      return { ...seen, holder: "other" };
    if (seen.past === "holder") return { ...seen, holder: "other" };
    return seen;
  });

/** The source without whose data the copy would be all there is. */
const holdsUnprovenData = (seen: Situation): boolean =>
  seen.copy !== undefined && seen.copy.phase !== "healthy";

describe("deriveState", () => {
  it("gives one known state for every situation, the same each time", () => {
    fc.assert(
      fc.property(situation, (seen) => {
        const state = deriveState(seen);
        expect(Object.keys(STATES)).toContain(state);
        expect(deriveState(structuredClone(seen))).toBe(state);
      }),
      { numRuns: 5_000 },
    );
  });

  it("has a step for exactly the states that do not end", () => {
    for (const [state, { next }] of Object.entries(STATES)) {
      expect(STEPS[state as MigrationState] !== undefined, state).toBe(next !== "end");
    }
  });

  it("has a way for each of them, so that tests kill a run in it", () => {
    const killed = [...statesOn("there"), ...statesOn("back"), ...statesOn("aside")];
    expect(killed.toSorted()).toEqual(Object.keys(STEPS).toSorted());
    expect(Object.keys(SAID).toSorted()).toEqual(statesOn("there").toSorted());
  });

  it("deletes a copy only while the source or another instance has the container's name", () => {
    fc.assert(
      fc.property(situation, (seen) => {
        if (!["seeding", "undoCopy", "orphanedCopy"].includes(deriveState(seen))) return;
        expect(["source", "other"]).toContain(seen.holder);
      }),
      { numRuns: 5_000 },
    );
  });

  it("deletes a copy without its source only while what it was made from has the name", () => {
    fc.assert(
      fc.property(situation, (seen) => {
        if (deriveState(seen) !== "orphanedCopy") return;
        expect(seen.copy?.isOfHolder).toBe(true);
        expect(seen.past).not.toBe("holder");
      }),
      { numRuns: 5_000 },
    );
  });

  it("clears the source's journal only once the copy is proven or the source is back", () => {
    fc.assert(
      fc.property(situation, (seen) => {
        const state = deriveState(seen);
        if (state === "healthy") expect(seen.copy?.phase).toBe("healthy");
        if (state === "undoJournal") expect(seen.holder === "source" && !seen.source?.originals).toBe(true);
      }),
      { numRuns: 5_000 },
    );
  });

  it("swaps only what this very run has verified since the source's last start", () => {
    fc.assert(
      fc.property(situation, (seen) => {
        if (deriveState(seen) !== "verified") return;
        expect(seen.source?.running).toBe(false);
        expect(seen.copy?.verified).toEqual({ run: seen.run, lastUsedAt: seen.source?.lastUsedAt });
      }),
      { numRuns: 5_000 },
    );
  });

  it("takes a running copy back only in the run that decided to", () => {
    fc.assert(
      fc.property(situation, (seen) => {
        if (deriveState(seen) !== "undoCopyName" || !seen.copy?.running) return;
        if (seen.source?.undo?.keeps) return;
        expect(seen.source?.undo?.run).toBe(seen.run);
        expect(holdsUnprovenData(seen)).toBe(true);
      }),
      { numRuns: 5_000 },
    );
  });
});

type Host = { situation: Situation; deleted: boolean };

/** What each step leaves on the host, as the engine's steps do it: a model to walk through. */
function advance(state: MigrationState, { situation: seen }: Host): Host {
  const source = seen.source;
  const copy = seen.copy;
  const next = (change: Partial<Situation>): Host => ({ situation: { ...seen, ...change }, deleted: false });
  const withSource = (change: Partial<NonNullable<Situation["source"]>>): Host =>
    source ? next({ source: { ...source, ...change } }) : next({});
  const withCopy = (change: Partial<NonNullable<Situation["copy"]>>): Host =>
    copy ? next({ copy: { ...copy, ...change } }) : next({});
  const without = (key: "source" | "copy"): Host => {
    const { [key]: _gone, ...rest } = seen;
    return { situation: rest, deleted: key === "copy" };
  };
  switch (state) {
    case "intended":
      return next({
        copy: {
          id: source?.id ?? "",
          phase: "seeded",
          verified: undefined,
          running: false,
          isOfHolder: true,
        },
      });
    case "seeding":
    case "undoCopy":
    case "orphanedCopy":
      return without("copy");
    case "seeded":
      return withSource({ phase: "stopping" });
    case "stopping":
      return withSource({ running: false });
    case "stopped":
      return withCopy({
        phase: "verified",
        verified: { run: seen.run, lastUsedAt: source?.lastUsedAt ?? "" },
      });
    case "verified":
      return withSource({ phase: "parking", originals: true });
    case "parking":
      return next({ holder: "nobody" });
    case "parked":
      return next({ holder: "copy" });
    case "renamed":
      return withCopy({ phase: "dressed" });
    case "dressed":
      return source?.wasRunning === false ? withCopy({ phase: "healthy" }) : withCopy({ running: true });
    case "started":
      return withCopy({ phase: "healthy" });
    case "healthy": {
      const { source: _cleared, ...rest } = seen;
      return { situation: rest, deleted: false };
    }
    case "cleared": {
      const { copy: _cleared, ...rest } = seen;
      return { situation: { ...rest, holder: "other" }, deleted: false };
    }
    case "restored": {
      const { past: _forgotten, ...rest } = seen;
      return { situation: rest, deleted: false };
    }
    case "copyLost":
      return withSource({ undo: { run: seen.run } });
    case "undoCopyName":
      return {
        ...withCopy({ running: false }),
        situation: { ...withCopy({ running: false }).situation, holder: "nobody" },
      };
    case "undoSourceName":
      return next({ holder: "source" });
    case "undoSettings":
      return withSource({ originals: false, phase: "copying" });
    case "undoStart":
      return withSource({ running: true });
    case "undoJournal": {
      const { source: _cleared, ...rest } = seen;
      return { situation: { ...rest, holder: "other" }, deleted: false };
    }
    default:
      return next({});
  }
}

describe("the steps", () => {
  const ends = Object.entries(STATES).flatMap(([state, { next }]) => (next === "end" ? [state] : []));

  it("lead from every situation to an end, whichever step is interrupted and undone", () => {
    fc.assert(
      fc.property(situation, fc.array(fc.boolean(), { maxLength: 6 }), (start, undoAt) => {
        let host: Host = { situation: start, deleted: false };
        for (let step = 0; step < 60; step++) {
          const state = deriveState(host.situation);
          if (ends.includes(state)) return;
          const undo = undoAt[step] === true && host.situation.source && state !== "healthy";
          host = undo ? advance("copyLost", host) : advance(state, host);
        }
        expect.fail(`no end from ${JSON.stringify(start)}: still ${deriveState(host.situation)}`);
      }),
      { numRuns: 5_000 },
    );
  });

  it("take a new migration through the swap in order", () => {
    const seen: MigrationState[] = [];
    let host: Host = {
      deleted: false,
      situation: {
        ...{ run: "this-run", holder: "source" },
        source: {
          id: "one",
          phase: "copying",
          wasRunning: true,
          running: true,
          lastUsedAt: "monday",
          originals: false,
        },
      },
    };
    for (let state = deriveState(host.situation); state !== "settled"; state = deriveState(host.situation)) {
      seen.push(state);
      host = advance(state, host);
    }
    expect(seen).toEqual(statesOn("there"));
  });

  it("are told in docs/migration.md by the same table", async () => {
    const page = await readFile(join(import.meta.dirname, "../../../docs/migration.md"), "utf8");
    const told = [...page.matchAll(/^\| `(\w+)` \| (.+) \| (.+) \| (.*) \|$/gm)].map(
      ([, state = "", holds, next, undo = ""]) => ({ state, holds, next, undo: undo.trim() }),
    );
    const undo = { withdrawn: "the opt-in is gone, or the run fails", failed: "the run fails" };
    expect(told).toEqual(
      Object.entries(STATES).map(([state, row]) => ({
        state,
        holds: row.holds,
        next: row.next,
        undo: "undo" in row ? undo[row.undo] : "",
      })),
    );
  });
});
