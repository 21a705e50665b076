import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { PoolSizes } from "../../../providers/host/pool-sizes.ts";
import { decideGrowth } from "../../../providers/pool/growth.ts";
import { loopSizes, sizes, UNSIZED } from "../../infra/plan/world.ts";

const GIB = 1024 ** 3;

function grow(wanted: number, of: PoolSizes, driver = "btrfs", hostFreeBytes: number | null = null) {
  return decideGrowth(wanted, { name: "default", driver, sizes: of, hostFreeBytes });
}

function loop(
  setting: number | null,
  file: number | null,
  devices: number[],
  fileSystem: number | null,
): PoolSizes {
  if (file === null) return { setting, fileSystem, loop: "out of reach" };
  return {
    setting,
    fileSystem,
    loop: { file, devices: devices.map((bytes, index) => ({ device: `/dev/loop${index}`, bytes })) },
  };
}

describe("growth of a pool", () => {
  test("is never to less than anything that it is on, whatever Incus' setting says", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60 }),
        sizes,
        fc.constantFrom("btrfs", "zfs"),
        (gib, of, driver) => {
          const decided = grow(gib * GIB, of, driver);
          if (decided.action !== "grow") return;
          const { loop: on, fileSystem } = of;
          const readable = typeof on === "object" ? [on.file, ...on.devices.map(({ bytes }) => bytes)] : [];
          const real = [...readable, fileSystem];
          for (const bytes of real) if (bytes !== null) expect(bytes).toBeLessThan(gib * GIB);
          expect(on).not.toBe(false);
          expect(fileSystem).not.toBeNull();
        },
      ),
      { seed: 3, numRuns: 3_000 },
    );
  });

  test.each<[string, number, PoolSizes, string]>([
    ["as Incus made it", 7, loopSizes(5 * GIB), "grow"],
    ["as large as wished", 5, loopSizes(5 * GIB), "keep"],
    [
      "larger by hand than the setting",
      7,
      loop(5 * GIB, 9 * GIB, [9 * GIB], 9 * GIB),
      "keep: it was grown by hand",
    ],
    ["larger by hand, and more is wished", 12, loop(5 * GIB, 9 * GIB, [9 * GIB], 9 * GIB), "grow"],
    [
      "whose loop device lags behind",
      12,
      loop(5 * GIB, 9 * GIB, [5 * GIB], 5 * GIB),
      "keep: losetup -c /dev/loop0",
    ],
    [
      "whose file system lags behind",
      12,
      loop(5 * GIB, 9 * GIB, [9 * GIB], 5 * GIB),
      "keep: btrfs filesystem resize",
    ],
    [
      "with one of two devices behind",
      12,
      loop(null, 9 * GIB, [9 * GIB, 5 * GIB], 9 * GIB),
      "keep: losetup -c /dev/loop1",
    ],
    [
      "with no device: the file may be another",
      12,
      loop(5 * GIB, 5 * GIB, [], 5 * GIB),
      "keep: Take pool.size out",
    ],
    ["whose file was cut", 12, loop(9 * GIB, 7 * GIB, [9 * GIB], 9 * GIB), "keep: data may be lost"],
    [
      "whose file was cut, and less is wished",
      5,
      loop(9 * GIB, 7 * GIB, [7 * GIB], 9 * GIB),
      "keep: data may be lost",
    ],
    [
      "on more devices than its loop",
      12,
      loop(5 * GIB, 5 * GIB, [5 * GIB], 15 * GIB),
      "keep: data may be lost",
    ],
    [
      "whose setting is ahead of its file",
      12,
      loop(12 * GIB, 5 * GIB, [5 * GIB], 5 * GIB),
      "keep: its sizes differ",
    ],
    ["without a setting", 7, loop(null, 5 * GIB, [5 * GIB], 5 * GIB), "grow"],
    ["whose file is out of reach, all else agreeing", 7, loop(5 * GIB, null, [], 5 * GIB), "grow"],
    ["whose file is out of reach, grown by hand", 7, loop(5 * GIB, null, [], 9 * GIB), "keep: grown by hand"],
    [
      "whose file is out of reach, grown by hand, not enough",
      12,
      loop(5 * GIB, null, [], 9 * GIB),
      "keep: run on the host itself",
    ],
    ["of which nothing is known", 7, loop(5 * GIB, null, [], null), "keep: incus storage info"],
    ["on a partition", 7, UNSIZED, "keep"],
    [
      "on a partition, known to be small",
      7,
      { ...UNSIZED, fileSystem: GIB },
      "keep: no loop file of Incus' own",
    ],
  ])("%s", (_what, gib, of, expected) => {
    const [action = "", words = ""] = expected.split(": ");
    const decided = grow(gib * GIB, of);
    expect(decided.action).toBe(action);
    expect(("remark" in decided && decided.remark) || "").toContain(words);
    if (words === "") expect("remark" in decided).toBe(false);
  });

  test("of zfs, which keeps a reserve, goes by its file", () => {
    expect(grow(7 * GIB, loop(5 * GIB, 5 * GIB, [], 4.7 * GIB), "zfs").action).toBe("grow");
    expect(grow(7 * GIB, loop(5 * GIB, 9 * GIB, [], 8.6 * GIB), "zfs").action).toBe("keep");
    expect(grow(9 * GIB, loop(5 * GIB, null, [], 8.6 * GIB), "zfs").action).toBe("keep");
    expect(grow(12 * GIB, loop(5 * GIB, 9 * GIB, [], 4.7 * GIB), "zfs").action).toBe("keep");
    expect(grow(8.8 * GIB, loop(9 * GIB, null, [], 8.6 * GIB), "zfs").action).toBe("keep");
    expect(grow(9.2 * GIB, loop(9 * GIB, null, [], 8.6 * GIB), "zfs").action).toBe("grow");
  });

  test("is refused where the host has no room", () => {
    expect(grow(9 * GIB, loopSizes(5 * GIB), "btrfs", 2 * GIB)).toMatchObject({
      action: "refuse",
      reason: "growing pool default to 9.0 GiB needs 4.0 GiB, 2.0 GiB are free on the host",
    });
  });
});
