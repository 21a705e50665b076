import { describe, expect, it } from "vitest";
import { type Plan, planHosts } from "../../../infra/plan/plan.ts";
import { report } from "../../../infra/report/report.ts";
import type { HostLook } from "../../../providers/index.ts";
import { board, container, hostConfig } from "../plan/hosts.ts";
import { CONTEXT, HOST } from "../plan/world.ts";

function planOf(raw: unknown, look: HostLook = board()): Plan {
  return planHosts({ [HOST]: hostConfig(raw) }, { [HOST]: { look } }, CONTEXT);
}

const LISTED = { containers: { mary: {}, naira: {}, stanley: { project: "user-1000" } } };

describe("the report", () => {
  it("as text tells pool, containers with size and snapshots, and what opting in would do", () => {
    expect(report(planOf(LISTED), "text")).toMatchInlineSnapshot(`
      "orange-1: nothing to do
        pool default: dir, 90.0 GiB free, mode dir
        launches go to pool default (dir), network incusbr0, by the default profile
        container          pool           prot.     size  snap.  what would happen, or why nothing does
        mary               default (dir)  yes    3.0 GiB      1  nothing: not under optIn.migrate; a migration copies 3.0 GiB,
                                                                 1 snapshot, down about 17 s
        naira (stopped)    default (dir)  yes    2.0 GiB      0  nothing: not under optIn.migrate; a migration copies 2.0 GiB,
                                                                 no downtime
        user-1000/stanley  default (dir)  yes    3.0 GiB      1  nothing: not under optIn.migrate; a migration copies 3.0 GiB,
                                                                 1 snapshot, down about 17 s
        i pool default stays dir: used by mary, naira, user-1000/stanley, snapshot mary/taos-archive-1, snapshot
          user-1000/stanley/taos-archive-1. Name containers under optIn.migrate to move them to copy-on-write storage.
      "
    `);
  });

  it("as text tells what will be done and what is refused", () => {
    const raw = {
      ...LISTED,
      optIn: { migrate: ["mary", "naira"] },
      images: ["taos-openclaw-base"],
      agents: { iris: { image: "taos-base" } },
    };
    expect(report(planOf(raw), "text")).toMatchInlineSnapshot(`
      "orange-1: 5 to do, 1 waiting for an opt-in or a pool, 1 refused
        pool default-cow: btrfs, 50.0 GiB, 50.0 GiB free, mode btrfs
        launches go to pool default-cow (btrfs), network incusbr0, by the default profile
        container          pool           prot.     size  snap.  what would happen, or why nothing does
        mary               default (dir)  yes    3.0 GiB      1  moves to pool default-cow
        naira (stopped)    default (dir)  yes    2.0 GiB      0  moves to pool default-cow
        user-1000/stanley  default (dir)  yes    3.0 GiB      1  nothing: not under optIn.migrate; a migration copies 3.0 GiB,
                                                                 1 snapshot, down about 17 s
        + pool default-cow: create-pool: btrfs, 50.0 GiB: there is no such pool
        + image taos-openclaw-base: warm-image: unpacked in pool default-cow, so that launches are snapshots
        + container mary: migrate: moves from pool default to default-cow; the source is kept, parked (copies 3.0 GiB, 1
          snapshot, down about 17 s; needs 2.0 GiB of 50.0 GiB)
        + container naira: migrate: moves from pool default to default-cow; the source is kept, parked (copies 2.0 GiB, no
          downtime; needs 2.0 GiB of 48.0 GiB)
        + profile default: repoint-profile: new launches go to pool default-cow
        x image taos-base: it is not on the host, and the config names no file or url for it. On the host: taos-openclaw-base.
          Import it there, or give it a file or url under images.
        - container iris: it waits for its image. See what is said of image taos-base.
        i pool default stays dir: used by mary, naira, user-1000/stanley, snapshot mary/taos-archive-1, snapshot
          user-1000/stanley/taos-archive-1. Name containers under optIn.migrate to move them to copy-on-write storage.
        i profile user-1000/default stays on pool default, so new launches go there: user-1000/stanley take their root disk
          from it. optIn.pinRoot or optIn.migrate frees it.
        i pool default-cow is not named default: taOS' banner and its snapper snapshots of containers (Layer 3) will not see
          it
      "
    `);
  });

  it("stays readable with 200 containers: those with nothing to do are counted", () => {
    const many = Array.from({ length: 200 }, (_, index) => container(`taos-agent-${index}`));
    const text = report(planOf({ containers: { "taos-agent-7": {} } }, board(many)), "text");
    expect(text.split("\n").length).toBeLessThan(12);
    expect(text).toContain("taos-agent-7 ");
    expect(text).toContain("199 more on pool default (dir): 597 GiB, 199 snapshots, nothing happens to them");
  });

  it("keeps to 120 columns", () => {
    const long = container("a".repeat(63), { project: "b".repeat(63) });
    for (const line of report(planOf(LISTED, board([container("mary"), long])), "text").split("\n")) {
      expect(line.length).toBeLessThanOrEqual(120);
    }
  });

  it("as Markdown is a table that no name can break", () => {
    const strange = container("mary", { snapshots: [] });
    const look = board([{ ...strange, project: "a|b`<@x>" }]);
    const text = report(planOf({}, look), "markdown");
    expect(text).toContain("| container | pool | prot. | size |");
    expect(text).toContain("a\\|b\\`\\<\\@x\\>/mary");
    const rows = text.split("\n").filter((line) => line.startsWith("|"));
    expect(new Set(rows.map((row) => row.replaceAll(/\\./g, "").split("|").length)).size).toBe(1);
  });

  it("as JSON is the plan itself", () => {
    const plan = planOf(LISTED);
    expect(JSON.parse(report(plan, "json"))).toEqual(plan);
  });

  it("says why a host was not reached", () => {
    const plan = planHosts(
      { [HOST]: hostConfig({}) },
      { [HOST]: { unreachable: "no route to host" } },
      CONTEXT,
    );
    expect(report(plan, "text")).toContain("orange-1: not reached, left as it is\n  no route to host");
    expect(report(plan, "markdown")).toContain("not reached");
  });
});
