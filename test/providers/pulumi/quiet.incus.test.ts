import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { setUpHost } from "../../testbed/host-setup.ts";
import { importImage } from "../../testbed/images.ts";
import { TestResource } from "../resource.ts";

/** Seeds of configs that were noisy once, and a few more. A new find is added here. */
const SEEDS = [1, 2, 3, 20261127];
/** Changes of one agent for each seed. */
const CHANGES = 6;

const text = fc.constantFrom("", "x", "a b", "0", "true", "1.10", "ünïcode", "a=b,c", '"quoted"', " spaced ");
const settings = fc.record(
  {
    environment: fc.dictionary(fc.constantFrom("HTTP_PROXY", "CHANNEL", "LANG"), text, { maxKeys: 3 }),
    config: fc.dictionary(fc.constantFrom("user.note", "user.taos-like", "user.x.y"), text, { maxKeys: 3 }),
    memory: fc.constantFrom("256MiB", "0.5GiB", "300MB"),
    cpu: fc.constantFrom("1", "0-1", "2"),
    disk: fc.constantFrom("1GiB", "1200MiB"),
    description: fc.constantFrom("", "an agent", "mit Ümlaut"),
    devices: fc.dictionary(
      fc.constantFrom("data", "extra"),
      fc.constantFrom(
        { type: "none" },
        { type: "unix-char", path: "/dev/null", required: "false", mode: "" },
      ),
      { maxKeys: 2 },
    ),
    files: fc.uniqueArray(
      fc.record({
        path: fc.constantFrom("/srv/a", "/srv/deep/b", "/etc/hostname"),
        content: text,
        mode: fc.constantFrom("0644", "600", "0755"),
        uid: fc.constantFrom(0, 1000),
      }),
      { selector: ({ path }) => path, maxLength: 3 },
    ),
  },
  { requiredKeys: [] },
);

/** Sizes that Incus does not take are not what this is about. */
const agent = settings.filter(({ memory }) => memory !== "0.5GiB");

describe("any config of an agent", () => {
  let d: IncusDaemon;
  beforeAll(async () => {
    d = await startDaemon({ name: "quiet" });
    await setUpHost(d, { driver: "btrfs" });
    await importImage(d, "taos-base");
  });
  afterAll(() => d?.remove());

  test.each(SEEDS)("of seed %i: once it is so, the next run finds nothing to do", async (seed) => {
    const iris = new TestResource(d, "Instance", "iris");
    const base = { name: "iris", image: "taos-base", pool: "default", protected: false };
    for (const [index, wanted] of fc.sample(agent, { seed, numRuns: CHANGES }).entries()) {
      const args = { ...base, ...wanted };
      await iris.up(args);
      const drift = await iris.refresh();
      const shown = JSON.stringify({ index, wanted, drift: iris.state?.["drift"] });
      expect(drift, shown).toBe(false);
      expect(await iris.up(args), shown).toBe("same");
      for (const [name, value] of Object.entries(wanted.environment ?? {}))
        expect(await d.incus("config", "get", "iris", `environment.${name}`)).toBe(value);
    }
    await iris.destroy();
  });

  test("in a project that has its images and profiles from the default one", async () => {
    await d.incus(
      "project",
      "create",
      "guests",
      "-c",
      "features.images=false",
      "-c",
      "features.profiles=false",
    );
    const iris = new TestResource(d, "Instance", "iris");
    const environment = { HTTP_PROXY: "", CHANNEL: "0123" };
    const args = { name: "iris", image: "taos-base", pool: "default", project: "guests", protected: false };
    expect(await iris.up({ ...args, environment })).toBe("create");
    expect(await iris.refresh()).toBe(false);
    expect(await iris.up({ ...args, environment })).toBe("same");
    const shown = await d.incus("config", "show", "iris", "--project", "guests");
    expect(shown).toContain('environment.CHANNEL: "0123"');
    await iris.destroy();
  });
});
