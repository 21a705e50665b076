import { describe, expect, it } from "vitest";
import { parseDeviceStats, parseScrub, parseUsage } from "../../../providers/host/btrfs-health.ts";
import { enforcesMemory, packageOf } from "../../../providers/host/machine-health.ts";

/** As btrfs-progs 6.14 prints it. */
const USAGE = `Overall:
    Device size:\t\t         536870912
    Device allocated:\t\t          92274688
    Device unallocated:\t\t         444596224
    Used:\t\t\t            294912
    Free (estimated):\t\t         452984832\t(min: 230686720)
    Data ratio:\t\t\t              1.00
    Metadata ratio:\t\t              2.00
    Global reserve:\t\t           5767168\t(used: 0)
    Multiple profiles:\t\t                no

Data,single: Size:8388608, Used:0 (0.00%)
   /dev/loop1\t   8388608

Metadata,DUP: Size:33554432, Used:131072 (0.39%)
   /dev/loop1\t  67108864
`;

describe("what btrfs prints", () => {
  it("of its space", () => {
    expect(parseUsage(USAGE)).toEqual({
      unallocated: 444_596_224,
      metadata: { total: 33_554_432, used: 131_072, reserve: 5_767_168, copies: 2 },
    });
    const mixed = USAGE.replace(/Data,single.*\n.*\n\n/, "").replace("Metadata,DUP", "Data+Metadata,single");
    expect(parseUsage(mixed).metadata.used).toBe(131_072);
    expect(() => parseUsage("ERROR: not a btrfs")).toThrow(/unallocated/);
  });

  it("of its devices: what is not zero", () => {
    const text =
      "[/dev/loop1].write_io_errs    0\n[/dev/loop1].corruption_errs  3\n[/dev/sda1].read_io_errs     12\n";
    expect(parseDeviceStats(text)).toEqual([
      { device: "/dev/loop1", counter: "corruption_errs", count: 3 },
      { device: "/dev/sda1", counter: "read_io_errs", count: 12 },
    ]);
  });

  it("of its scrubs", () => {
    expect(parseScrub("UUID: 1a96\n\tno stats available\nError summary:    no errors found\n")).toBe("never");
    const text = `UUID:             1a96
Scrub started:    Sat Nov 28 05:00:23 2026
Status:           finished
Duration:         0:00:00
Error summary:    csum=3
  Corrected:      1
  Uncorrectable:  2
  Unverified:     0
`;
    const startedAt = Date.UTC(2026, 10, 28, 5, 0, 23);
    expect(parseScrub(text)).toEqual({ startedAt, status: "finished", uncorrectable: 2 });
    const resumed = text
      .replace("started: ", "resumed: ")
      .replace(/Error summary[\s\S]*/, "Error summary:    no errors found\n");
    expect(parseScrub(resumed)).toEqual({ startedAt, status: "finished", uncorrectable: 0 });
  });
});

describe("limits of memory", () => {
  const CGROUPS = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t50\t1\nmemory\t4\t156\t1";
  const cases: [string, string | undefined, string | undefined, boolean | null][] = [
    ["by the second version", "cpuset cpu io memory pids", undefined, true],
    ["not on a Raspberry Pi", "cpuset cpu io pids", CGROUPS.replace("156\t1", "156\t0"), false],
    ["by the first version", undefined, CGROUPS, true],
    ["not by the first version", undefined, CGROUPS.replace("156\t1", "156\t0"), false],
    ["unknown", undefined, undefined, null],
  ];
  it.each(cases)("enforced %s", (_how, controllers, cgroups, expected) => {
    expect(enforcesMemory(controllers, cgroups)).toBe(expected);
  });
});

it("the package that the running Incus is from", () => {
  const installed = "incus\t\nincus-base\t6.0.4-2+deb13u7~bpo12+1\n";
  expect(packageOf("6.0.4", installed)).toBe("6.0.4-2+deb13u7~bpo12+1");
  expect(packageOf("6.0.5", installed)).toBeNull();
  expect(packageOf("6.21", "incus\t1:6.21-debian12-202601\n")).toBe("1:6.21-debian12-202601");
  expect(packageOf("6.0.4", "")).toBeNull();
});
