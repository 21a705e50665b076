import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { waitLeft } from "../../../infra/fleet/between-waves.ts";
import { parseFleet } from "../../../infra/fleet/fleet-file.ts";
import type { HostResult, Outcome } from "../../../infra/fleet/outcome.ts";
import { rollOut } from "../../../infra/fleet/roll-out.ts";
import type { Wave } from "../../../infra/fleet/schema.ts";
import { type FleetWave, partition } from "../../../infra/fleet/waves.ts";

const RULES = {
  ...{ maxFailed: 0, countsAsFailed: [], wait: undefined, health: undefined, healthTimeout: 1_000 },
};
const TAGS = ["garage", "attic", "garden"];
const host = fc.record({ tags: fc.uniqueArray(fc.constantFrom(...TAGS)) });
const hosts = fc
  .array(host, { maxLength: 30 })
  .map((all) => all.map(({ tags }, index) => ({ name: `h${index}`, tags })));
const wave = fc.oneof(
  fc
    .uniqueArray(fc.nat(29), { minLength: 1, maxLength: 3 })
    .map((some) => ({ hosts: some.map((n) => `h${n}`) })),
  fc.constantFrom(...TAGS).map((tag) => ({ tag })),
  fc.integer({ min: 1, max: 7 }).map((count) => ({ count })),
  fc.integer({ min: 1, max: 100 }).map((percent) => ({ percent })),
);
const waves = fc.array(wave, { maxLength: 5 }).map((all): Wave[] => all.map((one) => ({ ...RULES, ...one })));

describe("partition", () => {
  it("puts every host into exactly one wave, in the order of the file within each", () => {
    fc.assert(
      fc.property(hosts, waves, (fleet, given) => {
        const made = partition(fleet, given);
        const names = fleet.map(({ name }) => name);
        expect(made.flatMap((one) => one.hosts).sort()).toEqual([...names].sort());
        for (const one of made) expect(one.hosts).toEqual(names.filter((name) => one.hosts.includes(name)));
        // Numbers of the file's own waves stay.
        expect(made.length).toBeGreaterThanOrEqual(given.length);
      }),
    );
  });

  it("takes no more than a count or a percentage says, and leaves none for later that fits", () => {
    fc.assert(
      fc.property(hosts, waves, (fleet, given) => {
        const made = partition(fleet, given);
        for (const [index, { count, percent, tag }] of given.entries()) {
          const taken = made[index]?.hosts ?? [];
          const later = made.slice(index + 1).flatMap((one) => one.hosts);
          const most =
            count ?? (percent === undefined ? undefined : Math.ceil((fleet.length * percent) / 100));
          if (most !== undefined) {
            expect(taken.length).toBeLessThanOrEqual(most);
            if (later.length > 0) expect(taken.length).toBe(most);
          }
          if (tag !== undefined)
            expect(fleet.filter(({ name, tags }) => later.includes(name) && tags.includes(tag))).toEqual([]);
        }
      }),
    );
  });

  it("goes on by the last count, and puts the rest behind a last tag", () => {
    const all = ["a", "b", "c", "d", "e"].map((name) => ({ name, tags: name === "b" ? ["x"] : [] }));
    const of = (...given: Partial<Wave>[]) =>
      partition(
        all,
        given.map((one) => ({ ...RULES, ...one })),
      ).map((one) => one.hosts.join(""));
    expect(of({ hosts: ["c"] }, { count: 2 })).toEqual(["c", "ab", "de"]);
    expect(of({ percent: 25 })).toEqual(["ab", "cd", "e"]);
    expect(of({ tag: "x" })).toEqual(["b", "acde"]);
    expect(of()).toEqual(["abcde"]);
  });

  it("numbers the hosts of a file by their waves", () => {
    const names = ["a", "b", "c"].map((name) => `${name}: {connection: "unix:/${name}"}`).join(", ");
    const fleet = parseFleet(`{hosts: {${names}}, waves: [{hosts: [b]}, {count: 1}]}`, "f");
    expect(fleet.hosts.map((one) => `${one.name}${one.wave}`)).toEqual(["a2", "b1", "c3"]);
  });
});

/** A fleet of pretended hosts: what each run comes to, and what was done in which order. */
class World {
  readonly said: string[] = [];
  readonly done = new Set<string>();
  readonly outcomes: Record<string, Outcome>;
  stopped: string | undefined;
  sick = new Set<number>();
  /** Host at which the roll-out's own process dies. */
  dies: string | undefined;

  constructor(outcomes: Record<string, Outcome> = {}) {
    this.outcomes = outcomes;
  }

  roll(of: readonly FleetWave[]): Promise<HostResult[]> {
    const result = (name: string, outcome: Outcome, reason = ""): HostResult => ({
      ...{
        host: name,
        wave: 0,
        outcome,
        reason,
        paused: null,
        pulumi: true,
        seconds: 0,
        log: null,
        plan: null,
      },
    });
    const life = { isOver: false };
    return rollOut(
      of,
      {
        needsRun: (name) => !this.done.has(name),
        run: async (name, isHeld) => {
          // One after the other, as on one core.
          const turn = this.#last.then(() => new Promise((resolve) => setImmediate(resolve)));
          this.#last = turn;
          await turn;
          const held = isHeld();
          if (held !== undefined) return result(name, "untouched", held);
          if (name === this.dies) life.isOver = true;
          if (life.isOver) throw new Error("killed");
          this.said.push(name);
          const outcome = this.outcomes[name] ?? "changed";
          if (outcome === "changed") this.done.add(name);
          return result(name, outcome);
        },
        pass: async (_wave, number) => {
          this.said.push(`pass ${number}`);
          return this.sick.has(number) ? `wave ${number} is sick` : undefined;
        },
        untouched: (name, reason) => result(name, "untouched", reason),
      },
      () => this.stopped,
    );
  }

  #last: Promise<unknown> = Promise.resolve();
}

const wavesOf = (...names: string[]): FleetWave[] => names.map((one) => ({ ...RULES, hosts: one.split("") }));
const summary = (results: HostResult[]) => results.map((one) => `${one.host} ${one.outcome}`);

describe("a roll-out", () => {
  it("goes wave by wave, each passed before the next", async () => {
    const world = new World();
    await world.roll(wavesOf("a", "bc", "d"));
    expect(world.said).toEqual(["a", "pass 1", "b", "c", "pass 2", "d"]);
  });

  it("stops after a canary that failed, and within a wave beyond what it allows", async () => {
    const world = new World({ a: "failed" });
    expect(summary(await world.roll(wavesOf("a", "b")))).toEqual(["a failed", "b untouched"]);
    const tolerant = wavesOf("abcd", "e").map((one) => ({ ...one, maxFailed: 1 }));
    const other = new World({ a: "failed", b: "failed" });
    expect(summary(await other.roll(tolerant))).toEqual([
      ...["a failed", "b failed", "c untouched", "d untouched", "e untouched"],
    ]);
  });

  it.each(["unreachable", "refused", "locked", "interrupted"] as const)(
    "goes on where a host is %s",
    async (outcome) => {
      const world = new World({ a: outcome });
      expect(summary(await world.roll(wavesOf("a", "b")))).toEqual([`a ${outcome}`, "b changed"]);
    },
  );

  it("counts what a wave says counts", async () => {
    const [first, second] = wavesOf("a", "b");
    const strict = [{ ...first, ...RULES, hosts: ["a"], countsAsFailed: ["unreachable" as const] }];
    const world = new World({ a: "unreachable" });
    expect(summary(await world.roll([...strict, ...(second ? [second] : [])]))).toEqual([
      "a unreachable",
      "b untouched",
    ]);
  });

  it("begins nothing more once it is stopped, or after a wave that is not healthy", async () => {
    const world = new World();
    world.sick.add(1);
    const results = await world.roll(wavesOf("a", "b", "c"));
    expect(results.map(({ reason }) => reason)).toEqual(["", "wave 1 is sick", "wave 1 is sick"]);
    const other = new World();
    other.stopped = "stopped";
    expect(summary(await other.roll(wavesOf("a", "b")))).toEqual(["a untouched", "b untouched"]);
    expect(other.said).toEqual([]);
  });

  it("passes no wave where nothing is to do", async () => {
    const world = new World();
    await world.roll(wavesOf("a", "b"));
    world.said.length = 0;
    expect(await world.roll(wavesOf("a", "b"))).toEqual([]);
    expect(world.said).toEqual([]);
  });

  it("killed at any host, it is resumed: each host is done once, in order, with every wave before passed", async () => {
    const names = "abcdefg".split("");
    await fc.assert(
      fc.asyncProperty(fc.array(fc.constantFrom(...names), { maxLength: 4 }), async (deaths) => {
        const world = new World();
        const given = wavesOf("a", "bcd", "ef", "g");
        for (const dies of deaths) {
          world.dies = dies;
          await world.roll(given).catch(() => undefined);
        }
        world.dies = undefined;
        await world.roll(given);
        const ran = world.said.filter((one) => !one.startsWith("pass"));
        expect([...ran].sort()).toEqual(names);
        const waveOf = (name: string) => given.findIndex((one) => one.hosts.includes(name));
        expect(ran.map(waveOf)).toEqual(ran.map(waveOf).toSorted());
        for (const name of ran) {
          const before = world.said.slice(0, world.said.indexOf(name));
          for (let number = 1; number <= waveOf(name); number++) expect(before).toContain(`pass ${number}`);
        }
      }),
    );
  });
});

describe("the wait after a wave", () => {
  const at = (ms: number) => new Date(ms).toISOString();
  it.each([
    [undefined, [at(0)], 0, 0],
    [60_000, [], 0, 0],
    [60_000, [at(0), at(10_000)], 30_000, 40_000],
    // An earlier run has waited, or another machine's clock is ahead.
    [60_000, [at(0)], 90_000, 0],
    [60_000, [at(500_000)], 0, 60_000],
  ])("%s ms after %j at %s is %s", (wait, done, now, left) => {
    expect(waitLeft(wait, done, now)).toBe(left);
  });
});
