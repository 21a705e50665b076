import { describe, expect, it } from "vitest";
import { type HostPlan, planErrors, planHosts } from "../../../infra/plan/plan.ts";
import type { HostLook, InstanceLook, ProfileLook } from "../../../providers/index.ts";
import { OWNER_KEY } from "../../../providers/index.ts";
import { board, boardContainers, container, hostConfig, poolLook } from "./hosts.ts";
import { CONTEXT, HOST, owner, rootDevice } from "./world.ts";

const GIB = 1024 ** 3;
/** Of a container that is otherwise without config. */
const UUID = { "volatile.uuid": "5d0c1a52-7d0b-4f3e-9a57-3f1d2c9b8e70" };
const LISTED = { mary: {}, naira: {}, stanley: { project: "user-1000" } };

function plan(raw: unknown, look: HostLook = board()): HostPlan {
  const planned = planHosts({ [HOST]: hostConfig(raw) }, { [HOST]: { look } }, CONTEXT).hosts[0];
  if (!planned) throw new Error("no plan");
  return planned;
}

const kinds = (planned: HostPlan): string[] => planned.actions.map(({ kind, object }) => `${kind} ${object}`);
const refused = (planned: HostPlan): string[] =>
  planned.refusals.map(({ severity, object, reason }) => `${severity}: ${object}: ${reason}`);

/** A container that was moved to `pool` and has its own root disk. */
function on(pool: string, name: string, change: Partial<InstanceLook> = {}): InstanceLook {
  return container(name, {
    devices: rootDevice(pool, null),
    root: { pool, profile: null, sizeBytes: null },
    ...change,
  });
}

describe("a dir pool with containers", () => {
  it("is reported and left, whatever it costs to move what is on it", () => {
    const planned = plan({ containers: LISTED });
    expect(planned).toMatchObject({
      actions: [],
      refusals: [],
      pool: { name: "default", driver: "dir", mode: "dir" },
    });
    expect(planned.remarks[0]).toContain("pool default stays dir: used by mary, naira, user-1000/stanley");
    expect(planned.remarks[0]).toContain("optIn.migrate");
    expect(
      planned.containers.map(({ name, protected: kept, migration }) => [
        name,
        kept,
        migration?.bytes,
        migration?.downtimeSeconds,
      ]),
    ).toEqual([
      ["mary", true, 3 * GIB, 17],
      ["naira", true, 2 * GIB, 0],
      ["user-1000/stanley", true, 3 * GIB, 17],
    ]);
  });

  it.each<[string, unknown]>([
    ["protected: false", { containers: { mary: { protected: false } } }],
    ["containers taken out of the config", {}],
  ])("stays untouched with %s", (_what, raw) => {
    expect(plan(raw)).toMatchObject({ actions: [], refusals: [] });
  });

  it.each(["btrfs", "zfs"])("is left all the same when the config names driver %s", (driver) => {
    const planned = plan({ pool: { driver } });
    expect(planned).toMatchObject({ actions: [], refusals: [], pool: { driver: "dir", mode: "dir" } });
    expect(planned.remarks[0]).toContain("pool default stays dir: used by mary, naira, user-1000/stanley");
    const volume = { volumes: [{ name: "memory", project: "default", type: "custom" }] };
    const look = board([], { pools: [poolLook("default", "dir", volume)] });
    expect(plan({ pool: { driver } }, look)).toMatchObject({ actions: [], refusals: [] });
  });

  it("names only some of very many containers", () => {
    const many = Array.from({ length: 200 }, (_, index) =>
      container(`taos-agent-${index}`, { snapshots: [], snapshotBytes: 0 }),
    );
    expect(plan({}, board(many)).remarks[0]).toMatch(
      /used by (taos-agent-\d+, ){5}taos-agent-\d+ and 194 more/,
    );
  });
});

describe("optIn.migrate", () => {
  it("says of a source that it parks and removeParked names, that it goes with the next run", () => {
    const config = { containers: { mary: {} }, optIn: { migrate: ["mary"], removeParked: ["mary"] } };
    const planned = plan(config, board([container("mary")]));
    expect(kinds(planned)).toContain("migrate container mary");
    expect(planned.refusals).toEqual([
      {
        severity: "held",
        object: "parked copy of mary",
        reason: "it is made by this very run",
        remedy: "It goes with the next run.",
      },
    ]);
  });

  it("is refused for a running container that could not be started again, not for a stopped one", () => {
    const missing = [{ device: "data", source: "/srv/data", kind: "path" as const }];
    const config = { containers: { mary: {}, naira: {} }, optIn: { migrate: ["mary", "naira"] } };
    const stopped = container("naira", { status: "Stopped", missing });
    const planned = plan(config, board([container("mary", { missing }), stopped]));
    expect(refused(planned)).toEqual([
      "error: container mary: /srv/data (device data) is not to be had on the host, so Incus would not start mary again once it is stopped",
    ]);
    expect(kinds(planned)).toContain("migrate container naira");
  });

  const raw = { containers: LISTED, optIn: { migrate: ["mary"] }, images: ["taos-openclaw-base"] };

  it("makes a second pool, warms the images, moves the named one, and says who keeps the profile", () => {
    const planned = plan(raw);
    expect(kinds(planned)).toEqual(
      [
        "create-pool pool default-cow",
        "warm-image image taos-openclaw-base",
        "migrate container mary",
        "repoint-profile profile user-1000/default",
      ].filter((line) => !line.startsWith("repoint")),
    );
    expect(planned.actions.at(-1)?.cost).toEqual({
      bytes: 3 * GIB,
      snapshots: 1,
      downtimeSeconds: 17,
      spaceNeeded: 2 * GIB,
      sharesImage: false,
      spaceThere: 50 * GIB,
    });
    expect(planned.remarks).toContainEqual(
      expect.stringContaining("profile default stays on pool default, so new launches go there: naira"),
    );
    expect(planned.remarks).toContainEqual(expect.stringContaining("pool default-cow is not named default"));
  });

  it("re-points a profile once nobody takes its root disk from it", () => {
    const planned = plan({ ...raw, optIn: { migrate: ["mary"], pinRoot: ["naira"] } });
    expect(kinds(planned)).toContain("pin-root container naira");
    expect(kinds(planned)).toContain("repoint-profile profile default");
    expect(kinds(planned)).not.toContain("repoint-profile profile user-1000/default");
  });

  it("has nothing to do where the pool is copy-on-write already", () => {
    const look = board([on("default", "mary")], { pools: [poolLook("default", "btrfs", { warm: ["f1"] })] });
    expect(plan({ ...raw, containers: { mary: {} } }, look)).toMatchObject({ actions: [], refusals: [] });
  });

  it("moves back to the dir pool where the entry names it", () => {
    const pools = [poolLook("default", "dir"), poolLook("default-cow", "btrfs")];
    const look = board([on("default-cow", "mary")], { pools });
    const planned = plan({ containers: { mary: { pool: "default" } }, optIn: { migrate: ["mary"] } }, look);
    const move = planned.actions.find(({ kind }) => kind === "migrate");
    expect(move).toMatchObject({ container: "mary", pool: "default" });
  });

  it("finishes what was interrupted, also while nobody has the name", () => {
    const journal = { "user.taos.migration": JSON.stringify({ role: "source", name: "mary" }) };
    const look = board([container("mary-parked-2f47f9a1", { config: journal, status: "Stopped" })]);
    expect(kinds(plan({ ...raw, containers: { mary: {} } }, look))).toContain("migrate container mary");
    expect(kinds(plan({ containers: { mary: {} } }, look))).toEqual(["conclude-migration container mary"]);
  });

  it.each<[string, Partial<InstanceLook>, string]>([
    ["backups", { backups: ["b1", "b2"] }, "server-side backups (b1, b2)"],
    ["an ephemeral container", { ephemeral: true }, "ephemeral"],
    ["a virtual machine", { type: "virtual-machine" }, "virtual machine"],
    [
      "more data than its size",
      { root: { pool: "default", profile: null, sizeBytes: GIB } },
      "more than the size of its root disk (1.0 GiB)",
    ],
    ["more data than there is room", { bytes: 60 * GIB }, "it needs 63.1 GiB, 50.0 GiB are free"],
  ])("is refused for %s", (_what, change, reason) => {
    const planned = plan(
      { containers: { mary: {} }, optIn: { migrate: ["mary"] } },
      board([container("mary", change)]),
    );
    expect(kinds(planned)).not.toContain("migrate container mary");
    expect(refused(planned)).toContainEqual(expect.stringContaining(reason));
  });

  it("is not refused for room where the base image is on the host: how much is shared shows while it is copied", () => {
    const big = container("mary", { bytes: 60 * GIB, config: { ...UUID, "volatile.base_image": "f1" } });
    const planned = plan({ containers: { mary: {} }, optIn: { migrate: ["mary"] } }, board([big]));
    expect(kinds(planned)).toContain("migrate container mary");
    expect(planned.actions.find(({ kind }) => kind === "migrate")?.cost).toMatchObject({
      sharesImage: true,
      spaceNeeded: 60 * GIB,
    });
  });

  it("is refused where the host's files are out of reach, or the driver's volumes cannot be compared", () => {
    const raw1 = { containers: { mary: {} }, optIn: { migrate: ["mary"] } };
    expect(refused(plan(raw1, board([container("mary")], { filesReadable: false })))[0]).toContain(
      "cannot be read over this connection",
    );
    const zfs = board([container("mary")], { usableDrivers: ["zfs", "dir"] });
    expect(refused(plan(raw1, zfs))[0]).toContain("driver zfs keeps volumes");
  });

  it("counts what was promised to the ones before", () => {
    const three = ["a1", "a2", "a3"].map((name) => container(name, { bytes: 20 * GIB, snapshotBytes: 0 }));
    const raw3 = { containers: { a1: {}, a2: {}, a3: {} }, optIn: { migrate: ["a1", "a2", "a3"] } };
    const planned = plan(raw3, board(three));
    expect(kinds(planned).filter((line) => line.startsWith("migrate"))).toEqual([
      "migrate container a1",
      "migrate container a2",
    ]);
    expect(refused(planned)).toEqual([
      "error: container a3: it needs 21.1 GiB, 10.0 GiB are free for pool default-cow",
    ]);
  });

  it.each<[string, string]>([
    ["Mary", "Nearest on the host: mary"],
    ["mar", "Nearest on the host: mary"],
    ["stanly", "Nearest on the host: stanley"],
    ["nobody-at-all", "Correct the name under containers"],
  ])("of %s, which is not on the host, is an error with the nearest names", (name, remedy) => {
    const planned = plan({ containers: { [name]: {} }, optIn: { migrate: [name] } });
    expect(planned.actions.some(({ container: one }) => one !== undefined)).toBe(false);
    expect(planned.refusals[0]).toMatchObject({ severity: "error", remedy: expect.stringContaining(remedy) });
  });

  it("of a container in another project says which", () => {
    const planned = plan({ containers: { stanley: {} }, optIn: { migrate: ["stanley"] } });
    expect(planned.refusals[0]).toMatchObject({
      reason: expect.stringContaining("user-1000"),
      remedy: "Set project: user-1000 on it.",
    });
  });
});

describe("an empty dir pool", () => {
  const empty = (change: Partial<HostLook> = {}): HostLook => board([], change);

  it("is made anew as btrfs under the same name, images warmed", () => {
    const planned = plan({ images: ["taos-openclaw-base"] }, empty());
    expect(kinds(planned)).toEqual(["recreate-pool pool default", "warm-image image taos-openclaw-base"]);
    expect(planned.pool).toMatchObject({
      name: "default",
      driver: "btrfs",
      mode: "btrfs",
      sizeBytes: 50 * GIB,
    });
  });

  it.each<[string, Partial<HostLook>, string]>([
    ["no btrfs on the host", { usableDrivers: ["dir"] }, "neither btrfs nor zfs"],
    ["too little room", { hostFreeBytes: 4 * GIB }, "are needed for the loop file"],
    ["an unprivileged container", { unprivileged: true }, "unprivileged container"],
    ["a loop file of its name", { strays: ["disks/default.img"] }, "disks/default.img"],
  ])("is refused with %s", (_what, change, reason) => {
    const planned = plan({}, empty(change));
    expect(planned.actions).toEqual([]);
    expect(refused(planned)).toEqual([expect.stringContaining(reason)]);
    expect(planned.pool.mode).toBe("existing");
  });

  it.each<[string, Partial<HostLook>]>([
    [
      "files that the database does not know",
      { pools: [poolLook("default", "dir", { leftovers: ["storage-pools/default/containers/mary"] })] },
    ],
    ["files out of reach", { pools: [poolLook("default", "dir", { leftovers: null })] }],
    [
      "a bucket",
      { pools: [poolLook("default", "dir", { buckets: [{ name: "archive", project: "default" }] })] },
    ],
    [
      "a use that only Incus knows of",
      { pools: [poolLook("default", "dir", { usedBy: ["/1.0/something-new/x"] })] },
    ],
    [
      "the daemon's backups",
      { daemonVolumes: [{ setting: "storage.backups_volume", pool: "default", volume: "b" }] },
    ],
  ])("is left with %s", (_what, change) => {
    const look = { ...empty(), ...change };
    const planned = plan({}, look);
    expect(planned).toMatchObject({ actions: [], refusals: [], pool: { mode: "dir" } });
  });
});

describe("a host whose default profile has a pool and a bridge of its own", () => {
  const own = (driver: string, change: Partial<HostLook> = {}): HostLook => ({
    ...board([], {
      pools: [poolLook("ssd", driver)],
      networks: [{ name: "br0", type: "bridge", managed: true }],
    }),
    profiles: [
      { name: "default", project: "default", disks: { disk: { path: "/", pool: "ssd" } }, networks: ["br0"] },
    ],
    ...change,
  });
  const agent = { agents: { iris: { image: "taos-openclaw-base" } }, images: ["taos-openclaw-base"] };

  it("gets neither another pool nor another bridge; agents go where launches go", () => {
    const planned = plan(agent, own("btrfs"));
    expect(kinds(planned)).toEqual(["warm-image image taos-openclaw-base", "create-agent container iris"]);
    expect(planned.actions.map(({ pool }) => pool)).toEqual(["ssd", "ssd"]);
    expect(planned.pool).toMatchObject({ name: "ssd", driver: "btrfs" });
    expect(planned.launches).toEqual([
      { project: "default", pool: "ssd", driver: "btrfs", networks: ["br0"] },
    ]);
  });

  it.each(["dir", "lvm"])("is left where that pool is %s, and the way to another one is said", (driver) => {
    const planned = plan({}, own(driver));
    expect(planned).toMatchObject({ actions: [], refusals: [], pool: { name: "ssd", driver } });
    expect(planned.remarks[0]).toMatch(/^pool ssd stays (dir|lvm): .*default profile's.*pool\.name/);
  });

  it("gets both where the config names them, and is told that launches stay", () => {
    const planned = plan({ pool: { name: "fast" }, bridge: "agents0" }, own("btrfs"));
    expect(kinds(planned)).toEqual(["create-pool pool fast", "create-network network agents0"]);
    expect(planned.launches).toEqual([
      { project: "default", pool: "ssd", driver: "btrfs", networks: ["br0"] },
    ]);
    expect(planned.remarks).toContainEqual(
      expect.stringContaining("launches go to pool ssd, images and agents of this stack to pool fast"),
    );
  });

  it("keeps its second pool beside it where a migration is opted in", () => {
    const look = own("dir");
    const mary = on("ssd", "mary");
    const planned = plan(
      { containers: { mary: {} }, optIn: { migrate: ["mary"] } },
      { ...board([mary], { pools: look.pools }), profiles: look.profiles, networks: look.networks },
    );
    expect(kinds(planned)).toEqual([
      "create-pool pool ssd-cow",
      "migrate container mary",
      "repoint-profile profile default",
    ]);
    expect(planned.launches[0]).toMatchObject({ pool: "ssd-cow", driver: "btrfs" });
  });

  it("is refused where that is the taOS worker's", () => {
    const pools = [poolLook("taos-worker-pool", "btrfs")];
    const profiles = [
      {
        name: "default",
        project: "default",
        disks: { root: { path: "/", pool: "taos-worker-pool" } },
        networks: [],
      },
    ];
    const planned = plan({}, own("btrfs", { pools, profiles }));
    expect(planned.actions.filter(({ kind }) => kind === "create-pool")).toEqual([]);
    expect(refused(planned)[0]).toContain("belongs to the taOS worker");
  });

  it("keeps a pool default that this stack made earlier", () => {
    const pools = [poolLook("ssd", "btrfs"), poolLook("default", "btrfs", { owner: owner("default") })];
    expect(plan({}, own("btrfs", { pools })).pool.name).toBe("default");
  });

  it.each<[string, string[], string]>([
    ["none", [], "incusbr0"],
    ["one on the bridge that is missing", ["incusbr0"], "incusbr0"],
  ])("gets a bridge where the profile has %s", (_what, networks, bridge) => {
    const profiles = [
      { name: "default", project: "default", disks: { root: { path: "/", pool: "ssd" } }, networks },
    ];
    const planned = plan({}, own("btrfs", { profiles }));
    expect(kinds(planned)).toContain(`create-network network ${bridge}`);
    expect(planned.launches[0]?.networks).toEqual([bridge]);
  });
});

describe("a default profile without a network interface", () => {
  const bare = (instances: InstanceLook[], change: Partial<ProfileLook> = {}): HostLook => ({
    ...board(instances, { pools: [poolLook("default", "btrfs")], networks: [] }),
    profiles: [
      {
        ...{
          name: "default",
          project: "default",
          disks: { root: { path: "/", pool: "default" } },
          networks: [],
        },
        ...change,
      },
    ],
  });

  it("gets one, and a bridge for it, as long as nobody has the profile", () => {
    expect(kinds(plan({}, bare([])))).toEqual([
      "create-network network incusbr0",
      "add-profile-devices profile default",
    ]);
    const other = container("mary", { profiles: [] });
    expect(kinds(plan({}, bare([other])))).toContain("add-profile-devices profile default");
  });

  it("is left where containers have it: they would get one, too", () => {
    const planned = plan({}, bare([container("mary"), container("naira")]));
    expect(planned).toMatchObject({ actions: [], refusals: [] });
    expect(planned.remarks).toContainEqual(
      expect.stringContaining(
        "profile default has no network interface and is left so: mary, naira would get one, too",
      ),
    );
    expect(planned.launches).toEqual([
      { project: "default", pool: "default", driver: "btrfs", networks: [] },
    ]);
    expect(kinds(plan({ bridge: "br1" }, bare([container("mary")])))).toEqual(["create-network network br1"]);
  });

  it("gets back what was added to it once", () => {
    const planned = plan({}, bare([container("mary")], { added: ["eth0", "root"] }));
    expect(kinds(planned)).toEqual([
      "create-network network incusbr0",
      "add-profile-devices profile default",
    ]);
  });
});

describe("a dir pool with a copy-on-write twin", () => {
  const pools = [poolLook("default", "dir"), poolLook("default-cow", "btrfs")];
  const toTwin = { name: "default", project: "default", disks: { root: { path: "/", pool: "default-cow" } } };
  const stays = (look: HostLook): string =>
    plan({}, look).remarks.find((remark) => remark.startsWith("pool default stays")) ?? "";

  it("is not called taken over while containers or profiles are on it", () => {
    expect(stays(board([container("naira", { snapshots: [] })], { pools }))).toBe(
      "pool default stays dir: pool default-cow is beside it; still on default: naira, profile default, profile user-1000/default.",
    );
    const profiles = [{ ...toTwin, networks: ["incusbr0"] }];
    expect(stays({ ...board([], { pools }), profiles })).toBe(
      "pool default stays dir: pool default-cow has taken over. It is empty: incus storage delete default frees its space.",
    );
    const unread = [poolLook("default", "dir", { leftovers: null }), poolLook("default-cow", "btrfs")];
    expect(stays({ ...board([], { pools: unread }), profiles })).toBe(
      "pool default stays dir: pool default-cow has taken over.",
    );
  });
});

describe("agents", () => {
  const mine = (change: Record<string, string> = {}): Partial<InstanceLook> => ({
    config: {
      [OWNER_KEY]: owner("iris"),
      "user.taos.image": "taos-openclaw-base",
      "user.taos.protected": "true",
      ...change,
    },
  });
  const cow = (instances: InstanceLook[]): HostLook =>
    board(instances, { pools: [poolLook("default", "btrfs", { warm: ["f1"] })] });
  const raw = { agents: { iris: { image: "taos-openclaw-base" } } };

  it("are made, and left once they are there", () => {
    expect(kinds(plan(raw, cow([])))).toEqual(["create-agent container iris"]);
    expect(plan(raw, cow([on("default", "iris", mine())]))).toMatchObject({ actions: [], refusals: [] });
  });

  it("are not taken over where they exist without this stack's mark", () => {
    const planned = plan(raw, cow([on("default", "iris")]));
    expect(planned.actions).toEqual([]);
    expect(planned.refusals[0]).toMatchObject({
      severity: "error",
      remedy: expect.stringMatching(/containers.*another name/),
    });
    const foreign = plan(
      raw,
      cow([on("default", "iris", { config: { [OWNER_KEY]: "taos-hosts/other/orange-1/iris" } })]),
    );
    expect(foreign.actions).toEqual([]);
  });

  it("are made anew for another image only with the opt-in, and the old one is kept", () => {
    const changed = { agents: { iris: { image: "taos-base" } }, images: [{ alias: "taos-base", file: "x" }] };
    const look = cow([on("default", "iris", mine())]);
    expect(refused(plan(changed, look))).toEqual([
      expect.stringContaining("held: container iris: image changes from taos-openclaw-base to taos-base"),
    ]);
    const opted = plan({ ...changed, optIn: { replace: ["iris"] } }, look);
    expect(opted.actions.at(-1)).toMatchObject({
      kind: "replace-agent",
      reason: expect.stringContaining("kept, parked"),
    });
  });

  it("are never given less disk than they hold", () => {
    const holding = (sizeBytes: number | null): HostLook =>
      cow([
        on("default", "iris", {
          ...mine(),
          bytes: 3 * GIB,
          root: { pool: "default", profile: null, sizeBytes },
        }),
      ]);
    const wanting = (disk: string): object => ({ agents: { iris: { image: "taos-openclaw-base", disk } } });
    for (const size of [null, 10 * GIB]) {
      expect(refused(plan(wanting("2GiB"), holding(size)))).toEqual([
        "error: container iris: its root disk holds 3.0 GiB and cannot be limited to 2.0 GiB",
      ]);
      expect(plan(wanting("5GiB"), holding(size)).refusals).toEqual([]);
    }
    expect(plan(wanting("2GiB"), holding(2 * GIB)).refusals).toEqual([]);
    expect(plan(wanting("2560MiB"), holding(2 * GIB)).refusals).toEqual([]);
  });

  it("that the config no longer names are refused while protected", () => {
    expect(refused(plan({}, cow([on("default", "iris", mine())])))).toEqual([
      expect.stringContaining("error: container iris: this stack made it, it is protected"),
    ]);
    expect(kinds(plan({}, cow([on("default", "iris", mine({ "user.taos.protected": "false" }))])))).toEqual([
      "delete-agent container iris",
    ]);
    expect(
      plan({}, cow([on("default", "iris", { config: { [OWNER_KEY]: "taos-hosts/other/orange-1/iris" } })])),
    ).toMatchObject({ actions: [], refusals: [] });
  });

  it("with an image that is nowhere are refused with the nearest one", () => {
    const planned = plan({ agents: { iris: { image: "taos-openclaw-bas" } } }, cow([]));
    expect(planned.refusals[0]).toMatchObject({
      object: "image taos-openclaw-bas",
      remedy: expect.stringContaining("On the host: taos-openclaw-base"),
    });
  });
});

describe("what Incus would refuse of an agent is said before anything is written", () => {
  const profile = (name: string, change: Partial<ProfileLook> = {}): ProfileLook => ({
    ...{ name, project: "default", disks: {}, networks: ["incusbr0"] },
    ...change,
  });
  const root = (device: string): Partial<ProfileLook> => ({
    disks: { [device]: { path: "/", pool: "default" } },
  });
  const LIMITED = { name: "limited", ownProfiles: false, ownImages: false };
  const look = (change: Partial<HostLook> = {}): HostLook => ({
    ...board([], { pools: [poolLook("default", "btrfs", { warm: ["f1"] })] }),
    profiles: [
      profile("default", root("root")),
      profile("big", root("disk")),
      profile("slow", root("root")),
      profile("default", { project: "user-1000", networks: [] }),
    ],
    ...change,
  });
  const agent = (change: object = {}): object => ({
    agents: { iris: { image: "taos-openclaw-base", ...change } },
  });
  const limited = (rules: Partial<HostLook["projects"][number]>): HostLook =>
    look({ projects: [...look().projects, { ...LIMITED, ...rules }] });

  it.each<[string, object, HostLook, string]>([
    ["two root disks", { profiles: ["default", "big"] }, look(), "give two root disks, root and disk"],
    ["a profile that is nowhere", { profiles: ["bog"] }, look(), "its profile bog is not in project default"],
    [
      "a device in the place of the root disk",
      { profiles: ["big"], devices: { disk: { type: "disk", path: "/x", source: "/x" } } },
      look(),
      "its device disk has the name of the root disk",
    ],
    [
      "no interface at all",
      { project: "user-1000" },
      look(),
      "neither its profiles (default) nor its devices give it a network interface",
    ],
    [
      "a network that is nowhere",
      { devices: { eth1: { type: "nic", network: "incusbr" } } },
      look(),
      "network incusbr of its device eth1 is not on the host",
    ],
    [
      "a full project",
      { project: "limited" },
      limited({ limits: { containers: { limit: 2, usage: 2 } } }),
      "it does not fit into project limited: limits.containers is 2, 2 are in use, 1 more are needed",
    ],
    [
      "a project that limits memory",
      { project: "limited" },
      limited({ limits: { memory: { limit: GIB, usage: 0 } } }),
      "its project limited limits memory, and so takes no container without a limit of its own",
    ],
    [
      "too large a disk",
      { project: "limited", disk: "3GiB" },
      limited({ limits: { disk: { limit: 2 * GIB, usage: GIB } } }),
      "limits.disk is 2.0 GiB, 1.0 GiB are in use, 3.0 GiB more are needed",
    ],
    [
      "an id map in a restricted project",
      { project: "limited", idmapUid: 1000 },
      limited({ forbidsRaw: true }),
      "forbids raw.* keys (idmapUid is one)",
    ],
    [
      "an image of another store",
      { project: "own" },
      look({ projects: [...look().projects, { name: "own", ownProfiles: false, ownImages: true }] }),
      "image taos-openclaw-base is not in its project own",
    ],
  ])("%s", (_what, change, on1, reason) => {
    const planned = plan(agent(change), on1);
    expect(planned.actions.filter(({ kind }) => kind === "create-agent")).toEqual([]);
    expect(refused(planned)).toEqual([expect.stringContaining(reason)]);
    expect(planned.refusals[0]?.severity).toBe("error");
  });

  it.each<[string, object, HostLook]>([
    ["a root disk of another name", { profiles: ["big"] }, look()],
    ["a root disk that a later profile gives again", { profiles: ["default", "slow"] }, look()],
    [
      "an interface of its own",
      { project: "user-1000", devices: { net7: { type: "nic", network: "incusbr0" } } },
      look(),
    ],
    ["no interface, and none waited for", { project: "user-1000", ready: "none" }, look()],
    [
      "a profile that gets its interface by this plan",
      {},
      look({ profiles: [profile("default", { ...root("root"), networks: [] })] }),
    ],
    [
      "a limit by profile",
      { project: "limited" },
      {
        ...limited({ limits: { memory: { limit: GIB, usage: 0 } } }),
        profiles: [profile("default", { ...root("root"), limits: { memory: "512MiB" } })],
      },
    ],
  ])("and what it takes is made: %s", (_what, change, on1) => {
    const planned = plan(agent(change), on1);
    expect(refused(planned)).toEqual([]);
    expect(planned.actions.map(({ kind }) => kind)).toContain("create-agent");
  });

  it.each<[string, object]>([
    ["of the host", { project: "user-100", images: ["taos-openclaw-base"], ...agent() }],
    ["of an agent", agent({ project: "user-100" })],
    ["of a container", { containers: { mary: { project: "user-100" } } }],
  ])("a project that is nowhere is named: %s", (_what, raw) => {
    const planned = plan(raw, look());
    const errors = refused(planned).filter((line) => line.startsWith("error"));
    expect(errors).toEqual(["error: project user-100: it is not on the host"]);
    expect(planned.refusals.find(({ severity }) => severity === "error")?.remedy).toContain(
      "On the host: user-1000",
    );
    expect(planned.actions.filter(({ container: one }) => one !== undefined)).toEqual([]);
  });
});

describe("an image that no container can be made from", () => {
  const images = [
    { fingerprint: "f1", project: "default", aliases: ["taos-base"], bytes: GIB },
    { fingerprint: "f2", project: "default", aliases: ["arm"], bytes: GIB, unfit: "it is for aarch64" },
  ];
  const look = board([], { pools: [poolLook("default", "btrfs")], images });

  it("is left out of * with a remark", () => {
    const planned = plan({ images: ["*"] }, look);
    expect(kinds(planned)).toEqual(["warm-image image taos-base"]);
    expect(planned.refusals).toEqual([]);
    expect(planned.remarks).toContain('image arm is left out of "*": it is for aarch64');
  });

  it("is an error where it is named, and so its agents wait", () => {
    const planned = plan({ agents: { iris: { image: "arm" } } }, look);
    expect(planned.actions).toEqual([]);
    expect(refused(planned)).toEqual([
      "error: image arm: no container can be made from it: it is for aarch64",
      "held: container iris: it waits for its image",
    ]);
  });
});

describe("parked copies", () => {
  const parked = on("default", "mary-parked-2f47f9a1", {
    status: "Stopped",
    config: { "user.taos.parked": JSON.stringify({ name: "mary" }) },
  });
  const raw = { containers: { mary: {} }, optIn: { removeParked: ["mary"] } };

  it("are listed, and removed only by the opt-in and beside their successor", () => {
    expect(
      plan({ containers: { mary: {} } }, board([container("mary"), parked])).containers[1],
    ).toMatchObject({ parkedOf: "mary", action: null });
    expect(kinds(plan(raw, board([container("mary"), parked])))).toEqual([
      "remove-parked container mary-parked-2f47f9a1",
    ]);
    expect(refused(plan(raw, board([parked])))).toContainEqual(
      expect.stringContaining("this is the only copy"),
    );
  });
});

describe("a host that does not answer", () => {
  it("is reported, and the others are planned", () => {
    const hosts = { [HOST]: hostConfig({}), "pi-2": { ...hostConfig({}), name: "pi-2" } };
    const planned = planHosts(
      hosts,
      { [HOST]: { look: board(boardContainers()) }, "pi-2": { unreachable: "no route" } },
      CONTEXT,
    );
    expect(planned.hosts[0]?.containers).toHaveLength(3);
    expect(planned.hosts[1]).toMatchObject({ unreachable: "no route", actions: [], pool: { mode: "n/a" } });
    expect(planErrors(planned)).toEqual(['Host "pi-2": no route']);
  });
});
