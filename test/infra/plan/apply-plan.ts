import { certainSpace } from "../../../infra/plan/cost.ts";
import type { Action, HostPlan } from "../../../infra/plan/plan.ts";
import {
  type HostLook,
  type InstanceLook,
  isCopyOnWrite,
  keptSourceOf,
  OWNER_KEY,
  type PoolLook,
  qualifiedName,
  realSize,
  undoneName,
} from "../../../providers/index.ts";
import { loopSizes, owner, rootDevice, settled, UNSIZED, type World } from "./world.ts";

/** A model of what `up` does: the host as it is after every action of the plan succeeded. Pure. */
export function applyPlan({ host, look }: World, plan: HostPlan): HostLook {
  let after = structuredClone(look);
  for (const action of plan.actions) after = settled(apply(after, action, plan, { host, look }));
  return after;
}

function apply(look: HostLook, action: Action, plan: HostPlan, world: World): HostLook {
  const poolName = action.object.replace(/^pool /, "");
  const decision = poolName === plan.pool.main ? plan.pool.decision : plan.pool.cowDecision;
  switch (action.kind) {
    case "create-pool":
    case "recreate-pool": {
      if (decision?.action !== "create" && decision?.action !== "recreate")
        throw new Error("no such decision");
      const size = decision.size ?? null;
      const made = newPool(poolName, decision.driver, size, world.host.pool.source);
      const kept = look.pools.find(({ name }) => name === poolName)?.volumes ?? [];
      return {
        ...look,
        pools: [...look.pools.filter(({ name }) => name !== poolName), { ...made, volumes: kept }],
      };
    }
    case "grow-pool": {
      if (decision?.action !== "grow") throw new Error("no such decision");
      const { size } = decision;
      return changePool(look, poolName, (pool) => ({
        ...pool,
        sizes: loopSizes(size),
        freeBytes: pool.freeBytes === null ? null : pool.freeBytes + size - (realSize(pool.sizes) ?? size),
      }));
    }
    case "create-network":
      return {
        ...look,
        networks: [...look.networks, { name: action.detail ?? "", type: "bridge", managed: true }],
      };
    case "add-profile-devices":
    case "repoint-profile": {
      const name = action.detail && action.kind === "repoint-profile" ? action.detail : "default";
      return {
        ...look,
        profiles: look.profiles.map((profile) =>
          qualifiedName(profile) === name
            ? {
                ...profile,
                disks:
                  action.kind === "repoint-profile" || action.detail?.includes("root")
                    ? {
                        ...profile.disks,
                        root: { ...profile.disks["root"], path: "/", pool: action.pool ?? "" },
                      }
                    : profile.disks,
                networks:
                  action.kind === "add-profile-devices" && profile.networks.length === 0
                    ? ["incusbr0"]
                    : profile.networks,
              }
            : profile,
        ),
      };
    }
    case "delete-pool":
      return { ...look, pools: look.pools.filter(({ name }) => name !== poolName) };
    case "delete-network":
      return { ...look, networks: look.networks.filter(({ name }) => action.object !== `network ${name}`) };
    case "delete-image":
      return {
        ...look,
        images: look.images
          .map((image) => ({ ...image, aliases: image.aliases.filter((alias) => alias !== action.detail) }))
          .filter(({ aliases }) => aliases.length > 0),
      };
    case "import-image":
    case "warm-image":
      return applyImage(look, action, world);
    default:
      return applyToContainer(look, action, world);
  }
}

function newPool(name: string, driver: string, sizeBytes: number | null, source: string): PoolLook {
  return {
    ...{ name, driver, status: "Created", source, owner: null, freeBytes: sizeBytes, visible: true },
    ...{
      sizes: sizeBytes === null ? UNSIZED : loopSizes(sizeBytes),
      usedBy: [],
      volumes: [],
      volumeSnapshots: [],
      buckets: [],
      warm: [],
      leftovers: driver === "dir" ? [] : null,
    },
  };
}

function changePool(look: HostLook, name: string, change: (pool: PoolLook) => PoolLook): HostLook {
  return { ...look, pools: look.pools.map((pool) => (pool.name === name ? change(pool) : pool)) };
}

function applyImage(look: HostLook, action: Action, { host }: World): HostLook {
  const imported = action.kind === "import-image";
  const fingerprint = imported ? `new-${action.detail}` : (action.detail ?? "");
  const own = look.projects.some(({ name, ownImages }) => name === host.project && ownImages);
  const image = {
    fingerprint,
    project: own ? host.project : "default",
    aliases: [action.detail ?? ""],
    bytes: 1,
  };
  const withImage = imported ? { ...look, images: [...look.images, image] } : look;
  return changePool(withImage, action.pool ?? "", (pool) =>
    isCopyOnWrite(pool.driver) ? { ...pool, warm: [...pool.warm, fingerprint] } : pool,
  );
}

function applyToContainer(look: HostLook, action: Action, { host }: World): HostLook {
  const isIt = (instance: InstanceLook): boolean => qualifiedName(instance) === action.container;
  const others = look.instances.filter((instance) => !isIt(instance));
  const it = look.instances.find(isIt);
  const project = action.container?.includes("/") ? (action.container.split("/")[0] ?? "") : "default";
  const name = action.container?.split("/").at(-1) ?? "";
  switch (action.kind) {
    case "pin-root":
      if (!it?.root) throw new Error("nothing to pin");
      return {
        ...look,
        instances: [
          ...others,
          { ...it, root: { ...it.root, profile: null }, devices: rootDevice(it.root.pool, null) },
        ],
      };
    case "remove-parked":
    case "delete-agent":
      return { ...look, instances: others };
    case "conclude-migration": {
      if (!it) throw new Error("nothing to conclude");
      const { "user.taos.migration": _journal, ...config } = it.config;
      return { ...look, instances: [...others, { ...it, config }] };
    }
    case "undo-migration": {
      const ended = look.instances.map((instance) => {
        const { "user.taos.migration": journal, ...config } = instance.config;
        const isOfIt = instance.project === project && journal?.includes(`"name":"${name}"`);
        return isOfIt ? { ...instance, config } : instance;
      });
      const kept = keptSourceOf(ended, project, name)?.instance;
      if (!kept) return { ...look, instances: ended };
      const { "user.taos.parked": _parked, ...config } = kept.config;
      const mark = { "user.taos.parked": JSON.stringify({ name, reason: "undone" }) };
      const instances = ended.map((instance): InstanceLook => {
        if (instance === kept) return { ...kept, name, config };
        if (instance.name !== name || instance.project !== project) return instance;
        const aside = undoneName(name, instance.config["volatile.uuid"] ?? "");
        return { ...instance, name: aside, status: "Stopped", config: { ...instance.config, ...mark } };
      });
      return { ...look, instances };
    }
    case "migrate": {
      if (!it) throw new Error("nothing to migrate");
      const { "user.taos.migration": _journal, ...config } = it.config;
      const moved: InstanceLook = {
        ...{ ...it, config, devices: rootDevice(action.pool ?? "", null) },
        root: { pool: action.pool ?? "", profile: null, sizeBytes: it.root?.sizeBytes ?? null },
      };
      const needed = action.cost ? certainSpace(action.cost) : 0;
      const less = (free: number | null): number | null => (free === null ? null : free - needed);
      const source = it.root?.pool === action.pool ? [] : [parked(it)];
      const free = {
        ...look,
        hostFreeBytes: less(look.hostFreeBytes),
        instances: [...others, ...source, moved],
      };
      return changePool(free, action.pool ?? "", (pool) => ({ ...pool, freeBytes: less(pool.freeBytes) }));
    }
    case "create-agent":
    case "replace-agent": {
      const agent = host.agents[name];
      if (!agent) throw new Error("no such agent");
      if (it && action.kind === "create-agent") {
        const { "user.taos.stage": _stage, ...finished } = it.config;
        return {
          ...look,
          instances: [...others, { ...it, config: { ...finished, "user.taos.image": agent.image } }],
        };
      }
      const old =
        action.kind === "replace-agent" && it && !action.reason.includes("is deleted") ? [parked(it)] : [];
      const config = {
        [OWNER_KEY]: owner(name),
        "user.taos.image": agent.image,
        "user.taos.protected": String(agent.protected),
      };
      const made: InstanceLook = {
        ...{
          name,
          project: agent.project,
          type: "container",
          status: "Running",
          ephemeral: false,
          profiles: agent.profiles,
        },
        ...{
          config,
          hasRawIdmap: false,
          devices: rootDevice(action.pool ?? "", null),
          snapshots: [],
        },
        ...{
          root: { pool: action.pool ?? "", profile: null, sizeBytes: null },
          backups: [],
          bytes: null,
          snapshotBytes: 0,
        },
      };
      const target = { project: agent.project, name };
      const rest = others.filter((instance) => qualifiedName(instance) !== qualifiedName(target));
      return { ...look, instances: [...rest, ...old, made] };
    }
    default:
      throw new Error(`no model of ${action.kind} for ${project}/${name}`);
  }
}

/** The kept source. A later one of the same container gets another suffix, as its uuid is another. */
function parked(instance: InstanceLook): InstanceLook {
  const { "user.taos.migration": _journal, ...config } = instance.config;
  return {
    ...instance,
    name: `${instance.name}-parked-0a1b2c3d`,
    status: "Stopped",
    config: { ...config, "user.taos.parked": JSON.stringify({ name: instance.name }) },
    root: instance.root && { ...instance.root, profile: null },
    devices: rootDevice(instance.root?.pool ?? "", null),
  };
}
