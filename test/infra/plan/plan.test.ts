import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type HostPlan, planHosts } from "../../../infra/plan/plan.ts";
import { OWNER_KEY, poolContents, qualifiedName } from "../../../providers/index.ts";
import { applyPlan } from "./apply-plan.ts";
import { CONTEXT, HOST, owner, type World, world } from "./world.ts";

const RUNS = { numRuns: 800 };

/** Actions after which a container is gone: a pool may be empty then. */
const FREEING = new Set(["delete-agent", "remove-parked", "replace-agent"]);

/** Actions after which a parked copy of the container may go. */
const MAKING = new Set(["create-agent", "migrate", "conclude-migration"]);

function planOf({ host, look }: World): HostPlan {
  const plan = planHosts({ [HOST]: host }, { [HOST]: { look } }, CONTEXT).hosts[0];
  if (!plan) throw new Error("no plan");
  return plan;
}

/** Whether the config allows this action on this container: an opt-in, or an agent of its own. */
function isAllowed({ host, look }: World, action: HostPlan["actions"][number]): boolean {
  const container = action.container ?? "";
  const live = look.instances.find((instance) => qualifiedName(instance) === container);
  const name = container.split("/").at(-1) ?? "";
  const { optIn } = host;
  const ours = live?.config[OWNER_KEY] === owner(name);
  switch (action.kind) {
    case "migrate":
      return optIn.migrate.includes(name);
    case "conclude-migration":
      return (
        (host.containers[name] !== undefined || ours) && live?.config["user.taos.migration"] !== undefined
      );
    case "undo-migration":
      return optIn.undo.includes(name);
    case "pin-root":
      return optIn.pinRoot.includes(name);
    case "remove-parked": {
      const mark: unknown = JSON.parse(live?.config["user.taos.parked"] ?? "{}");
      return (
        typeof mark === "object" &&
        mark !== null &&
        "name" in mark &&
        optIn.removeParked.includes(String(mark.name))
      );
    }
    case "replace-agent":
      return (
        ours &&
        (optIn.replace.includes(name) ||
          (!host.agents[name]?.protected && live.config["user.taos.protected"] === "false"))
      );
    case "delete-agent":
      return ours && host.agents[name] === undefined && live.config["user.taos.protected"] === "false";
    case "create-agent":
      return (
        host.agents[name] !== undefined &&
        (live === undefined || (ours && live.config["user.taos.stage"] !== undefined))
      );
    default:
      return false;
  }
}

describe("for every host and config, a plan", () => {
  it("names no container that no opt-in names", () => {
    fc.assert(
      fc.property(world, (given) => {
        for (const action of planOf(given).actions) {
          if (action.container !== undefined)
            expect(isAllowed(given, action), JSON.stringify(action)).toBe(true);
        }
      }),
      RUNS,
    );
  });

  it("leaves nothing to do once it is applied", () => {
    fc.assert(
      fc.property(world, (given) => {
        const plan = planOf(given);
        const { removeParked } = given.host.optIn;
        // What the config asks for cannot be: nothing is applied to such a host.
        fc.pre(plan.pool.decision?.action !== "refuse");
        fc.pre(
          !plan.actions.some(
            ({ kind, container = "" }) =>
              FREEING.has(kind) ||
              (MAKING.has(kind) && removeParked.some((name) => container.endsWith(name))),
          ),
        );
        expect(planOf({ ...given, look: applyPlan(given, plan) }).actions).toEqual([]);
      }),
      RUNS,
    );
  });

  it("comes to an end where a container that goes frees what it was in the way of", () => {
    fc.assert(
      fc.property(world, (given) => {
        let look = given.look;
        for (let run = 1; run <= 4; run++) look = applyPlan({ ...given, look }, planOf({ ...given, look }));
        expect(planOf({ ...given, look }).actions).toEqual([]);
      }),
      RUNS,
    );
  });

  it("is the same for the same input, and leaves the input as it is", () => {
    fc.assert(
      fc.property(world, (given) => {
        const before = structuredClone(given);
        const first = planOf(given);
        expect(given).toEqual(before);
        expect(planOf(structuredClone(given))).toEqual(first);
      }),
      { numRuns: 300 },
    );
  });

  it("makes no pool and no bridge beside what the default profile has, unless the config names it", () => {
    fc.assert(
      fc.property(world, ({ host, look }) => {
        const plan = planOf({ host, look });
        const profile = look.profiles.find(
          ({ name, project }) => name === "default" && project === "default",
        );
        const root = profile?.disks["root"]?.["pool"];
        const made = plan.actions.filter(({ kind }) => kind === "create-pool" || kind === "recreate-pool");
        const ours = look.pools.some(({ name, owner: mark }) => name === "default" && mark !== null);
        if (host.pool.name === undefined && root !== undefined && root !== "default" && !ours)
          expect(made.filter(({ object }) => !object.endsWith("-cow"))).toEqual([]);
        if (host.optIn.migrate.length === 0) expect(made.length).toBeLessThan(2);
        const bridges = plan.actions.filter(({ kind }) => kind === "create-network");
        if (profile?.networks.includes("br0")) expect(bridges).toEqual([]);
        const launch = plan.launches.find(({ project }) => project === "default");
        const repointed = plan.actions.some(
          ({ kind, detail }) => kind === "repoint-profile" && detail === "default",
        );
        if (profile && root !== undefined && !repointed) expect(launch?.pool).toBe(root);
      }),
      RUNS,
    );
  });

  it("never makes a pool anew that holds, or may hold, anything", () => {
    fc.assert(
      fc.property(world, (given) => {
        for (const action of planOf(given).actions) {
          if (action.kind !== "recreate-pool") continue;
          const pool = given.look.pools.find(({ name }) => action.object === `pool ${name}`);
          expect(pool).toMatchObject({ driver: "dir", visible: true, leftovers: [] });
          if (!pool) return;
          const { profiles: _profiles, ...contents } = poolContents(given.look, pool);
          expect(Object.values(contents).flat()).toEqual([]);
        }
      }),
      RUNS,
    );
  });

  it("loses no instance, snapshot, volume or profile that no opt-in gives up", () => {
    fc.assert(
      fc.property(world, (given) => {
        const plan = planOf(given);
        const after = applyPlan(given, plan);
        const deleting = plan.actions.filter(
          ({ kind, reason }) =>
            kind === "remove-parked" ||
            kind === "delete-agent" ||
            (kind === "replace-agent" && reason.includes("is deleted")),
        );
        const givenUp = new Set(deleting.map(({ container }) => container));
        for (const instance of given.look.instances) {
          if (givenUp.has(qualifiedName(instance))) continue;
          const heirs = after.instances.filter(
            (one) =>
              one.project === instance.project &&
              (one.name === instance.name ||
                one.name.startsWith(`${instance.name}-parked-`) ||
                one.name.startsWith(`${instance.name}-undone-`) ||
                (instance.name === `${one.name}-parked-2f47f9a1` &&
                  given.host.optIn.undo.includes(one.name))),
          );
          expect(
            heirs.some(({ snapshots }) => instance.snapshots.every((name) => snapshots.includes(name))),
          ).toBe(true);
        }
        for (const pool of given.look.pools) {
          const kept = after.pools.find(({ name }) => name === pool.name);
          const custom = pool.volumes.filter(({ type }) => type === "custom");
          expect(kept?.volumes).toEqual(expect.arrayContaining(custom));
        }
        for (const profile of given.look.profiles) {
          const kept = after.profiles.find(
            ({ name, project }) => name === profile.name && project === profile.project,
          );
          expect(Object.keys(kept?.disks ?? {})).toEqual(expect.arrayContaining(Object.keys(profile.disks)));
        }
      }),
      RUNS,
    );
  });

  it("deletes no pool, bridge or image but those of this stack that the config no longer names and nothing uses", () => {
    fc.assert(
      fc.property(world, (given) => {
        const { host, look } = given;
        const { actions } = planOf(given);
        const freed = actions.filter(({ kind }) => FREEING.has(kind)).map(({ container }) => container ?? "");
        for (const { kind, object, detail } of actions) {
          const name = object.replace(/^\w+ /, "");
          if (kind === "delete-pool") {
            const pool = look.pools.find((one) => one.name === name);
            expect(pool?.owner).toBe(owner(name));
            expect(name).not.toBe(host.pool.name ?? "default");
            if (!pool) return;
            const { instances, customVolumes, buckets } = poolContents(look, pool);
            expect(customVolumes.concat(buckets)).toEqual([]);
            expect(freed).toEqual(expect.arrayContaining(instances));
          } else if (kind === "delete-network") {
            const network = look.networks.find((one) => one.name === name);
            expect(network).toMatchObject({ owner: owner(name), usedBy: [] });
            expect(name).not.toBe("incusbr0");
          } else if (kind === "delete-image") {
            expect(look.images.map((image) => image.owner)).toContain(owner(detail ?? ""));
            expect(host.images.map(({ alias }) => alias)).not.toContain(detail);
          }
        }
      }),
      RUNS,
    );
  });

  it("gives a reason and a way out with everything it refuses", () => {
    fc.assert(
      fc.property(world, (given) => {
        for (const { reason, remedy } of planOf(given).refusals) {
          expect(reason.length).toBeGreaterThan(5);
          expect(remedy.length).toBeGreaterThan(10);
        }
      }),
      RUNS,
    );
  });

  it("does not touch a pool of the taOS worker", () => {
    fc.assert(
      fc.property(world, (given) => {
        const touched = planOf(given).actions.flatMap(({ object, pool }) => [object, pool]);
        expect(touched).not.toContain("pool taos-worker-pool");
        expect(touched).not.toContain("taos-worker-pool");
      }),
      RUNS,
    );
  });

  it("shows every container of the host exactly once", () => {
    fc.assert(
      fc.property(world, (given) => {
        const rows = planOf(given).containers.map(({ name }) => name);
        expect(rows.toSorted()).toEqual(given.look.instances.map(qualifiedName).sort());
      }),
      { numRuns: 300 },
    );
  });
});
