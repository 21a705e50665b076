import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { IncusDaemon } from "../../testbed/daemon.ts";
import { clear, requestFor, run, runAndDie, type Shown, show, startHost } from "./scene.ts";

/** Projects that forbid `volatile.uuid`, each by another setting. */
const STRICT = { limited: "limits.containers=20", restricted: "restricted=true" };
const ALLOW = "restricted.containers.lowlevel";

let daemon: IncusDaemon;
beforeAll(async () => {
  daemon = await startHost("mig-projects");
  for (const project of ["limited", "restricted", "memory"]) {
    await daemon.incus("project", "create", project, "-c", "features.images=false");
    for (const device of [
      ["root", "disk", "path=/", "pool=default"],
      ["eth0", "nic", "network=incusbr0"],
    ])
      await daemon.incus("profile", "device", "add", "default", ...device, `--project=${project}`);
  }
});
afterAll(async () => daemon?.remove());
afterEach(async () => {
  await clear(daemon);
  for (const project of ["limited", "restricted", "memory"]) {
    for (const key of [ALLOW, "limits.containers", "limits.memory", "restricted"])
      await daemon.incus("project", "unset", project, key);
  }
});

async function launch(project: string, ...flags: string[]): Promise<Shown> {
  await daemon.incus("launch", "bb", "mary", `--project=${project}`, ...flags);
  return maryOf(project);
}

async function maryOf(project: string): Promise<Shown> {
  const found = (await show(daemon, project)).find(({ name }) => name === "mary");
  if (!found) throw new Error("mary is gone");
  return found;
}

/** Settings but for what Incus makes anew at each start. */
function settingsOf({ config, devices, profiles }: Shown): object {
  const kept = Object.entries(config).filter(([key]) => !/\.host_name$|last_state\./.test(key));
  return { config: Object.fromEntries(kept), devices, profiles };
}

describe.each(Object.keys(STRICT) as (keyof typeof STRICT)[])("a %s project", (project) => {
  it("is refused before anything is written, and the advice, followed to the letter, heals it", async () => {
    await daemon.incus("project", "set", project, STRICT[project]);
    const before = await launch(project);
    const request = requestFor("mary", { project });
    const refusal = await run(daemon, request).catch((error: unknown) => String(error));
    expect(refusal).toMatch(/Refusing to migrate "mary": its project .* forbids volatile.uuid/);
    expect(await show(daemon, project)).toMatchObject([{ name: "mary", status: "Running" }]);
    expect(settingsOf(await maryOf(project))).toEqual(settingsOf(before));

    const [, advice = ""] = /Allow it: incus (project set \S+ \S+)/.exec(String(refusal)) ?? [];
    await daemon.incus(...advice.split(" "));
    await run(daemon, request);
    const moved = await maryOf(project);
    expect(moved.status).toBe("Running");
    expect(moved.expanded_devices["root"]?.["pool"]).toBe("cow");
    for (const key of ["volatile.uuid", "volatile.eth0.hwaddr"])
      expect(moved.config[key]).toBe(before.config[key]);
  });

  it.each([
    "after seeded",
    "after stopped",
    "after verified",
    "after parking",
    "after parked",
    "settings written",
  ])("that is made strict %s: she ends running as she was", async (point) => {
    const before = await launch(project);
    const onStep = async (at: string): Promise<void> => {
      if (at === point) await daemon.incus("project", "set", project, STRICT[project]);
    };
    const outcome = await run(daemon, requestFor("mary", { project }), { onStep }).then(
      () => "moved",
      (error: unknown) => (error as Error).message,
    );
    expect(outcome.split("\n")[0]).toBe('"mary" runs, on pool "default".');
    expect(outcome).toMatch(/forbidden.*Everything was undone/s);
    const after = await maryOf(project);
    expect(after.status).toBe("Running");
    const ids = /cloud-init\.instance-id/;
    const known = (shown: Shown): object =>
      settingsOf({
        ...shown,
        config: Object.fromEntries(Object.entries(shown.config).filter(([key]) => !ids.test(key))),
      });
    expect(known(after)).toEqual(known(before));
    expect(await show(daemon, project)).toHaveLength(1);
  });
});

it("that is made strict after a kill in the middle of the swap: she ends running as she was", async () => {
  const before = await launch("limited");
  await runAndDie(daemon, requestFor("mary", { project: "limited" }), "after parking");
  await daemon.incus("project", "set", "limited", STRICT.limited);
  await expect(run(daemon, requestFor("mary", { project: "limited" }))).rejects.toThrow(/^"mary" runs/);
  const after = await maryOf("limited");
  expect(after.status).toBe("Running");
  expect(after.config["volatile.eth0.hwaddr"]).toBe(before.config["volatile.eth0.hwaddr"]);
});

describe("a project with limits that count", () => {
  it("gets no second container where there is no room for one", async () => {
    await daemon.incus("project", "set", "limited", "limits.containers=1", `${ALLOW}=allow`);
    await launch("limited");
    await expect(run(daemon, requestFor("mary", { project: "limited" }))).rejects.toThrow(
      /limits.containers is 1, 1 are in use, 1 more are needed.*incus project set limited limits.containers/,
    );
    expect(await show(daemon, "limited")).toMatchObject([{ name: "mary", status: "Running" }]);
  });

  it("counts the copy from its first moment on, not only once the source is stopped", async () => {
    await daemon.incus("project", "set", "memory", "limits.memory=250MiB", `${ALLOW}=allow`);
    await launch("memory", "--config", "limits.memory=100MiB");
    await run(daemon, requestFor("mary", { project: "memory" }));
    const moved = await maryOf("memory");
    expect(moved).toMatchObject({ status: "Running", config: { "limits.memory": "100MiB" } });
    expect(moved.expanded_devices["root"]?.["pool"]).toBe("cow");
    await daemon.incus("launch", "bb", "naira", "--project=memory", "--config", "limits.memory=50MiB");
    await expect(run(daemon, requestFor("naira", { project: "memory" }))).rejects.toThrow(
      /limits.memory is 250(.0)? MiB, 250(.0)? MiB are in use, 50(.0)? MiB more are needed/,
    );
  });
});
