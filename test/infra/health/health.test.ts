import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { examine, exitCodeOf } from "../../../infra/health/examine.ts";
import { judgeIncus } from "../../../infra/health/holes.ts";
import { LIMITS } from "../../../infra/health/machine.ts";
import { textHealth } from "../../../infra/health/text.ts";
import type { HealthLook } from "../../../providers/host/health.ts";
import type { PoolHealth } from "../../../providers/host/pool-health.ts";

const MiB = 1024 ** 2;
const GiB = 1024 ** 3;
const DAY = 86_400_000;
const NOW = Date.parse("2026-11-28T05:00:00Z");

/** A btrfs pool on a loop file, of which all is well. */
function pool(change: Partial<PoolHealth> = {}): PoolHealth {
  return {
    ...{ name: "default", driver: "btrfs", status: "Created", source: "", isOnLoop: true },
    space: { used: 2 * GiB, total: 10 * GiB },
    loop: { bytes: 10 * GiB, occupied: 3 * GiB, free: 50 * GiB, device: "2049" },
    path: "/var/lib/incus/storage-pools/default",
    madeAt: NOW - 10 * DAY,
    btrfs: btrfs(),
    ...change,
  };
}

type Btrfs = Exclude<PoolHealth["btrfs"], { unread: string } | null>;

function btrfs(change: Partial<Btrfs> = {}): Btrfs {
  const metadata = { total: 256 * MiB, used: 80 * MiB, reserve: 16 * MiB, copies: 2 };
  return { unallocated: 6 * GiB, metadata, errors: [], scrub: "never", ...change };
}

function look(change: Partial<HealthLook> = {}): HealthLook {
  return {
    server: { version: "7.5.0", kernel: "6.12.30" },
    clock: { ahead: 300, within: 510 },
    runningContainers: 3,
    pools: [pool()],
    parked: [],
    machine: { incusPackage: "1:7.5.0-debian13-202611", memoryCgroup: true, limits: { ...LIMITS } },
    ...change,
  };
}

/** `severity rule object` of each finding. */
function found(change: Partial<HealthLook>): string[] {
  const { findings } = examine("board", { look: look(change) }, NOW);
  return findings.map(({ severity, rule, object }) => `${severity} ${rule} ${object}`);
}

describe("a host's health", () => {
  it("is healthy where nothing was found and all was looked at", () => {
    expect(examine("board", { look: look() }, NOW)).toEqual({
      ...{ host: "board", state: "healthy", unreachable: null, incus: "7.5.0", kernel: "6.12.30" },
      ...{ clockAhead: 0, findings: [], notLookedAt: [] },
    });
  });

  it("is the worst of what was found; notes count for nothing", () => {
    const states = [
      examine("a", { look: look() }, NOW),
      examine("b", { look: look({ clock: { ahead: 60_000, within: 500 } }) }, NOW),
      examine("c", { look: look({ pools: [pool({ status: "Unavailable", btrfs: null })] }) }, NOW),
      examine("d", { unreachable: "no route" }, NOW),
      examine("e", { look: look({ machine: null }) }, NOW),
      examine(
        "f",
        { look: look({ machine: machine({ limits: { ...LIMITS, "kernel.keys.maxkeys": 200 } }) }) },
        NOW,
      ),
    ];
    expect(states.map(({ state }) => state)).toEqual([
      ...["healthy", "warnings", "errors", "unreachable", "partly-seen", "healthy"],
    ]);
    expect(states.map((one) => exitCodeOf([one]))).toEqual([0, 2, 1, 1, 0, 0]);
    expect(exitCodeOf(states.slice(0, 2))).toBe(2);
    expect(exitCodeOf(states)).toBe(1);
  });

  it("has the errors first, each with what mends it below", () => {
    const health = examine(
      "board",
      {
        look: look({
          clock: { ahead: -60_000, within: 500 },
          pools: [pool({ space: { used: 98, total: 100 } })],
        }),
      },
      NOW,
    );
    expect(textHealth(health)).toBe(`board: 1 error, 1 warning
  Incus 7.5.0, kernel 6.12.30, clock -60 s ahead
  x pool default: 2 B of 100 B are free
    Grow it, where the host has the space: incus storage set default size=1GiB; or delete what is not needed: incus
    storage info default
  ! clock: it is 60 s behind the one here
    On the one that is wrong: sudo timedatectl set-ntp true
`);
  });
});

function machine(change: Partial<NonNullable<HealthLook["machine"]>>): HealthLook["machine"] {
  return { incusPackage: null, memoryCgroup: true, limits: { ...LIMITS }, ...change };
}

describe("pools", () => {
  const cases: [string, PoolHealth[], string[]][] = [
    ["84 % full", [pool({ space: { used: 84, total: 100 } })], []],
    ["85 % full", [pool({ space: { used: 85, total: 100 } })], ["warning pool-full pool default"]],
    ["95 % full", [pool({ space: { used: 95, total: 100 } })], ["error pool-full pool default"]],
    ["unavailable", [pool({ status: "Unavailable" })], ["error pool-status pool default"]],
    [
      "full of metadata, with unallocated space",
      [
        pool({
          btrfs: btrfs({ metadata: { total: 256 * MiB, used: 240 * MiB, reserve: 16 * MiB, copies: 2 } }),
        }),
      ],
      [],
    ],
    [
      "short of metadata",
      [
        pool({
          btrfs: btrfs({
            unallocated: 0,
            metadata: { total: 256 * MiB, used: 210 * MiB, reserve: 16 * MiB, copies: 2 },
          }),
        }),
      ],
      ["warning btrfs-metadata pool default"],
    ],
    [
      "out of metadata",
      [
        pool({
          btrfs: btrfs({
            unallocated: 0,
            metadata: { total: 256 * MiB, used: 230 * MiB, reserve: 16 * MiB, copies: 2 },
          }),
        }),
      ],
      ["error btrfs-metadata pool default"],
    ],
    ["never scrubbed, and young", [pool({ madeAt: NOW - 34 * DAY })], []],
    ["never scrubbed, and old", [pool({ madeAt: NOW - 36 * DAY })], ["warning btrfs-scrub pool default"]],
    ["never scrubbed, of unknown age", [pool({ madeAt: null })], []],
    [
      "scrubbed lately",
      [
        pool({
          madeAt: 0,
          btrfs: btrfs({ scrub: { startedAt: NOW - DAY, status: "finished", uncorrectable: 0 } }),
        }),
      ],
      [],
    ],
    [
      "scrubbed, with what it could not mend",
      [pool({ btrfs: btrfs({ scrub: { startedAt: NOW - DAY, status: "finished", uncorrectable: 2 } }) })],
      ["error btrfs-scrub pool default"],
    ],
    [
      "with errors of the device",
      [pool({ btrfs: btrfs({ errors: [{ device: "/dev/loop1", counter: "read_io_errs", count: 1 }] }) })],
      ["error btrfs-errors pool default"],
    ],
    [
      "whose loop file may outgrow the host",
      [pool({ loop: { bytes: 10 * GiB, occupied: 3 * GiB, free: 6 * GiB, device: "1" } })],
      ["warning loop-headroom pool default"],
    ],
    [
      "whose loop file has all its space",
      [pool({ loop: { bytes: 10 * GiB, occupied: 10 * GiB, free: 0, device: "1" } })],
      [],
    ],
    [
      "that count on the same space",
      ["default", "cow"].map((name) =>
        pool({ name, loop: { bytes: 10 * GiB, occupied: 3 * GiB, free: 8 * GiB, device: "1" } }),
      ),
      ["warning loop-headroom pools default, cow"],
    ],
    [
      "that count on space of their own",
      ["1", "2"].map((device) =>
        pool({ name: `p${device}`, loop: { bytes: 10 * GiB, occupied: 3 * GiB, free: 8 * GiB, device } }),
      ),
      [],
    ],
  ];
  it.each(cases)("%s", (_what, pools, expected) => {
    expect(found({ pools })).toEqual(expected);
  });

  it("whose commands fail are not looked at, and not healthy", () => {
    const { state, notLookedAt } = examine(
      "board",
      {
        look: look({ pools: [pool({ btrfs: { unread: "btrfs on the host ended with 127." }, loop: null })] }),
      },
      NOW,
    );
    expect(state).toBe("partly-seen");
    expect(notLookedAt).toEqual([
      { object: "pool default: metadata, device errors and scrub", why: "btrfs on the host ended with 127." },
      { object: "pool default: space under its loop file", why: "the loop file cannot be read" },
    ]);
  });
});

describe("the machine", () => {
  const cases: [string, Partial<HealthLook>, string[]][] = [
    [
      "without the memory cgroup",
      { machine: machine({ memoryCgroup: false }) },
      ["warning memory-cgroup memory"],
    ],
    [
      "with an old kernel",
      { server: { version: "7.5.0", kernel: "5.10.0-36-arm64" } },
      ["warning kernel kernel"],
    ],
    ["with the first kernel that has it", { server: { version: "7.5.0", kernel: "5.15.0" } }, []],
    ["with a clock as near as can be told", { clock: { ahead: 11_000, within: 1_500 } }, []],
    ["with a clock ahead", { clock: { ahead: 11_000, within: 500 } }, ["warning clock clock"]],
    ["with a clock that is wrong", { clock: { ahead: -400_000, within: 500 } }, ["error clock clock"]],
    [
      "with low limits and few containers",
      { machine: machine({ limits: { ...LIMITS, "fs.inotify.max_user_instances": 128 } }) },
      ["note limits kernel limits"],
    ],
    [
      "with low limits and many containers",
      { runningContainers: 10, machine: machine({ limits: { "fs.inotify.max_user_instances": 128 } }) },
      ["warning limits kernel limits"],
    ],
    ["whose kernel does not have a limit", { runningContainers: 10, machine: machine({ limits: {} }) }, []],
  ];
  it.each(cases)("%s", (_what, change, expected) => {
    expect(found(change)).toEqual(expected);
  });

  it("is asked about the same limits that set-up raises", () => {
    const script = readFileSync(join(import.meta.dirname, "../../../script/prepare/host.sh"), "utf8");
    const raised = /<<'LIMITS'\n([\s\S]*?)\nLIMITS/.exec(script)?.[1] ?? "";
    const limits = raised.split("\n").map((line) => line.split(" "));
    expect(limits.map(([name, value]) => [name, Number(value)])).toEqual(Object.entries(LIMITS));
  });
});

describe("security holes of Incus", () => {
  const cases: [string, string, string | null, string[]][] = [
    ["a version with all fixes", "7.5.0", null, []],
    ["one hole, which 7.3 brought", "7.4", null, ["warning CVE-2026-115372"]],
    ["not what came later", "7.2.0", null, []],
    [
      "the LTS has two of the fixes",
      "6.0.6",
      null,
      ["CVE-2026-33542", "CVE-2026-33897", "CVE-2026-35527", "CVE-2026-48751"].map((cve) => `warning ${cve}`),
    ],
    [
      "Debian's has mended what it could, the others are notes",
      "6.0.4",
      "6.0.4-2+deb13u7~bpo12+1",
      ["note CVE-2026-35527", "note CVE-2026-48751"],
    ],
    [
      "an update of Debian is missing",
      "6.0.4",
      "6.0.4-2+deb13u4",
      ["warning CVE-2026-33542", "warning CVE-2026-33897", "note CVE-2026-35527", "note CVE-2026-48751"],
    ],
    [
      "a package of somebody else's says nothing of it",
      "6.20",
      "1:6.20-debian12-202512",
      [
        "CVE-2026-23953",
        "CVE-2026-23954",
        "CVE-2026-33542",
        "CVE-2026-33897",
        "CVE-2026-35527",
        "CVE-2026-48751",
      ].map((cve) => `warning ${cve}`),
    ],
  ];
  it.each(cases)("%s", (_what, version, packaged, expected) => {
    const { findings, notLookedAt } = judgeIncus(version, packaged);
    expect(findings.map(({ severity, what }) => `${severity} ${what.split(":")[0]}`)).toEqual(expected);
    expect(notLookedAt).toEqual([]);
  });

  it("are not told where the package is unknown", () => {
    const { findings, notLookedAt } = judgeIncus("6.0.4", undefined);
    expect(findings).toEqual([]);
    expect(notLookedAt[0]?.object).toMatch(/^Incus 6\.0\.4: CVE-2026-23953, CVE-2026-23954, /);
    expect(judgeIncus("7.5.0", undefined).notLookedAt).toEqual([]);
  });
});

describe("what was parked", () => {
  const parked = {
    ...{
      name: "mary-parked-1db46401",
      project: "user-1000",
      of: "mary",
      reason: "migrated",
      pool: "default",
    },
    ...{ at: NOW - 29 * DAY, bytes: 3 * GiB, isReplaced: true },
  };
  const one = (change: object) =>
    examine("board", { look: look({ parked: [{ ...parked, ...change }] }) }, NOW);

  it("is a note for a month, with size and age", () => {
    expect(one({}).findings).toEqual([
      {
        ...{ severity: "note", rule: "parked", object: "container user-1000/mary-parked-1db46401" },
        what: "parked 29 days ago for mary (migrated), 3.0 GiB on pool default",
        mend: "Name mary under hosts.board.optIn.removeParked, then npm run up",
      },
    ]);
    expect(one({ at: NOW - 30 * DAY }).findings[0]?.severity).toBe("warning");
  });

  it("that may be the only copy is never to be removed", () => {
    const [finding] = one({ isReplaced: false }).findings;
    expect(finding?.severity).toBe("warning");
    expect(finding?.mend).toContain("incus rename mary-parked-1db46401 mary --project user-1000");
    expect(finding?.mend).not.toContain("removeParked");
  });
});
