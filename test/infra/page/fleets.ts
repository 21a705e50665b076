import { pageText } from "../../../infra/commands/page-file.ts";
import type { Outcome } from "../../../infra/fleet/outcome.ts";
import type { PageData, PageHost } from "../../../infra/page/types.ts";
import { planHosts } from "../../../infra/plan/plan.ts";
import type { HostLook, InstanceLook } from "../../../providers/index.ts";
import { board, container, hostConfig, poolLook } from "../plan/hosts.ts";
import { CONTEXT, HOST } from "../plan/world.ts";

const GIB = 1024 ** 3;
const OUTCOMES: readonly Outcome[] = [
  ...([
    "unchanged",
    "unchanged",
    "changes",
    "drifted",
    "unchanged",
    "unreachable",
    "refused",
    "paused",
  ] as const),
];

/** Source and copy of a migration that has come to its verification, and the kept source of an earlier one. */
function migrations(): InstanceLook[] {
  const uuid = "5d0c1a52-7d0b-4f3e-9a57-3f1d2c9b8e70";
  const common = { id: "1", name: "iris", from: "default", to: "default-cow", uuid };
  const source = {
    ...common,
    ...{ role: "source", phase: "stopping", project: "default", copy: "iris-copy", parked: "iris-parked" },
    ...{ wasRunning: true, addresses: [], createdAt: "", lastUsedAt: "", copiedSince: 0, owner: "" },
    startedAt: "2026-11-27T22:10:00.000Z",
  };
  const parked = {
    ...{ name: "rose", project: "default", pool: "default", successorPool: "default-cow" },
    ...{ reason: "migrated", at: "2026-11-20T10:00:00.000Z", owner: "", wasRunning: true },
    originals: { config: { "volatile.uuid": uuid }, devices: {} },
  };
  const cow = { root: { pool: "default-cow", profile: null, sizeBytes: null } };
  const marked = (key: string, value: object) => ({
    config: { "volatile.uuid": uuid, [`user.taos.${key}`]: JSON.stringify(value) },
  });
  return [
    container("iris", marked("migration", source)),
    container("iris-copy", { ...cow, ...marked("migration", { ...common, role: "copy", phase: "seeded" }) }),
    container("rose", cow),
    container("rose-parked", { status: "Stopped", ...marked("parked", parked) }),
  ];
}

function lookAt(count: number): HostLook {
  const filler = Array.from({ length: Math.max(0, count - 7) }, (_, index) =>
    container(`taos-agent-${index + 1}`, index % 3 === 0 ? { bytes: null } : {}),
  );
  const names = ["mary", "naira"].map((name) => container(name));
  const all = [...names, container("stanley", { project: "user-1000" }), ...migrations(), ...filler];
  const look = board(all.slice(0, count));
  const file = { file: 50 * GIB, devices: [] };
  const sized = look.pools.map((pool) => ({
    ...pool,
    sizes: { setting: null, fileSystem: 230 * GIB, loop: false as const },
  }));
  const cow = poolLook("default-cow", "btrfs", {
    freeBytes: 42 * GIB,
    loopFreeBytes: 30 * GIB,
    sizes: { setting: 50 * GIB, fileSystem: 50 * GIB, loop: file },
  });
  return { ...look, pools: [...sized, cow, poolLook("tank", "zfs", { freeBytes: null })] };
}

/** A host as the page knows it, of a plan made from a look. */
function pageHost(name: string, index: number, containers: number): PageHost {
  const outcome = OUTCOMES[index % OUTCOMES.length] ?? "unchanged";
  const raw = {
    containers: { mary: {}, stanley: { project: "user-1000" } },
    images: ["taos-openclaw-base"],
    agents: outcome === "refused" ? { fern: { image: "taos-base" } } : {},
    optIn: { migrate: outcome === "changes" || outcome === "drifted" ? ["mary"] : [] },
  };
  const facts =
    outcome === "unreachable"
      ? { unreachable: "no answer from https://orange-6:8443 within 20 s" }
      : { look: lookAt(containers) };
  const [plan] = planHosts({ [HOST]: hostConfig(raw) }, { [HOST]: facts }, CONTEXT).hosts;
  if (!plan) throw new Error("no plan");
  return {
    ...{ name, outcome, plan: { ...plan, host: name } },
    reason: `${plan.actions.length} to do`,
    paused: outcome === "paused" ? "its owner moves house" : null,
    wave: 1 + Math.floor(index / 8),
    tags: index % 2 === 0 ? ["garage"] : ["garage", "canary"],
    lastUp: { at: "2026-11-26T03:12:00.000Z", standing: "as at its last up" },
  };
}

export function fleetOf(count: number, containers = 20): PageData {
  const hosts = Array.from({ length: count }, (_, index) =>
    pageHost(`orange-${index + 1}`, index, containers),
  );
  return { title: "Fleet", madeAt: "2026-11-28T05:00:00.000Z", hosts };
}

/** The page of a fleet of so many hosts. */
export function fleetPage(count: number, containers = 20): Promise<string> {
  return pageText(fleetOf(count, containers));
}
