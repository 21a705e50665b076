import { link, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ExecaError } from "execa";
import type { IncusDaemon } from "../testbed/daemon.ts";
import { AGENT } from "./host.ts";
import type { HandAct } from "./story.ts";
import type { SeenInstance, World } from "./world.ts";

/** Names by which the engine's own instances are told, by the documentation. */
const ENGINE_MADE = /^(.+)-(parked|copy|undone)-[0-9a-f]{8}$/;

/** What became of an instance that a person renamed or copied: who owns what, for the judge. */
export type Hands = {
  /** Names that were given by hand, `project/name`: theirs is what no run may touch. */
  made: Set<string>;
  /** Parked sources that were renamed by hand: new name to the container's. Both `project/name`. */
  renamedParked: Map<string, string>;
  /** Containers whose wanted status nobody can say any more. */
  undecided: Set<string>;
};

/** The container that an instance of the engine's belongs to; undefined for any other. `project/name`. */
export function engineOwner(hands: Hands, { ref, name, project }: SeenInstance): string | undefined {
  if (hands.made.has(ref)) return hands.renamedParked.get(ref);
  const owner = ENGINE_MADE.exec(name)?.[1];
  return owner === undefined ? undefined : `${project}/${owner}`;
}

/** Whether it is a copy on its way, which holds nothing of its own. */
export function isHalfCopy(hands: Hands, { ref, name }: SeenInstance): boolean {
  return !hands.made.has(ref) && ENGINE_MADE.exec(name)?.[2] === "copy";
}

export type HandScene = {
  d: IncusDaemon;
  hands: Hands;
  /** Containers that the config lists, `project/name`. */
  listed: ReadonlySet<string>;
  /** Counts the names that hands give. */
  nextName(): string;
  tell(line: string): void;
  /** Whether a migration may be under way. */
  midway: boolean;
};

/** Does one thing by hand. What Incus refuses is told and left: a person would shrug, too. */
export async function doByHand(scene: HandScene, act: HandAct, world: World): Promise<void> {
  const all = [...world.instances.values()].sort((a, b) => (a.ref < b.ref ? -1 : 1));
  const from = all.filter((one) => fits(scene, act, one));
  const one = from[act.pick % Math.max(1, from.length)];
  if (!one) {
    scene.tell(`by hand: ${act.kind}: there is none`);
    return;
  }
  try {
    await perform(scene, act, one);
  } catch (error) {
    if (!(error instanceof ExecaError)) throw error;
    // Incus stops a container before a restore, and leaves it stopped where it then refuses the start.
    if (scene.midway && act.kind === "restore") scene.hands.undecided.add(one.ref);
    scene.tell(`by hand: ${act.kind} ${one.ref}: refused: ${String(error.stderr).trim()}`);
  }
}

function fits({ hands, listed }: HandScene, { kind }: HandAct, one: SeenInstance): boolean {
  const engines = engineOwner(hands, one) !== undefined;
  if (kind === "copy a parked or half-made one") return engines;
  if (kind === "rename a parked one") return engines && !isHalfCopy(hands, one) && one.status === "Stopped";
  if (engines || one.pool === "") return false;
  const free = !listed.has(one.ref) && one.name !== AGENT;
  const hasSnapshots = one.contents.size > 1;
  switch (kind) {
    case "rename one that is not listed":
      return free && one.status === "Stopped";
    case "delete one that is not listed":
      return free && hands.made.has(one.ref);
    case "copy snapshot":
    case "restore":
    case "delete a snapshot":
      return hasSnapshots && one.name !== AGENT;
    case "start or stop":
      return one.name !== AGENT;
    default:
      return true;
  }
}

async function perform(scene: HandScene, { kind, pick }: HandAct, one: SeenInstance): Promise<void> {
  const { d, hands } = scene;
  const incus = async (...args: string[]): Promise<void> => {
    scene.tell(`by hand: incus ${args.join(" ")}`);
    await d.incus(...args, "--project", one.project);
  };
  const snapshots = [...one.contents.keys()].filter((key) => key !== "").sort();
  const snapshot = snapshots[pick % Math.max(1, snapshots.length)] ?? "";
  const fresh = scene.nextName();
  const ref = `${one.project}/${fresh}`;
  switch (kind) {
    case "copy":
    case "copy a parked or half-made one":
      hands.made.add(ref);
      return incus("copy", one.name, fresh, ...(pick % 2 === 0 ? ["--instance-only"] : []));
    case "copy snapshot":
      hands.made.add(ref);
      return incus("copy", `${one.name}/${snapshot}`, fresh);
    case "rename a parked one": {
      const owner = engineOwner(hands, one) ?? "";
      await incus("rename", one.name, fresh);
      hands.made.add(ref);
      hands.renamedParked.set(ref, owner);
      return;
    }
    case "rename one that is not listed":
      await incus("rename", one.name, fresh);
      hands.made.add(ref);
      return;
    case "snapshot":
      return incus("snapshot", "create", one.name, fresh);
    case "restore":
      return incus("snapshot", "restore", one.name, snapshot);
    case "delete a snapshot":
      return incus("snapshot", "delete", one.name, snapshot);
    case "start or stop":
      // Whether a container that was stopped half-way is to run in the end, nobody can say.
      if (scene.midway) hands.undecided.add(one.ref);
      return incus(...(one.status === "Running" ? ["stop", "--force"] : ["start"]), one.name);
    case "write":
      scene.tell(`by hand: write to ${one.ref}:/srv/${fresh}`);
      await writeFile(join(d.rootfs(one.pool, one.name, one.project), "srv", fresh), `by hand, ${pick}`);
      return link(
        join(d.rootfs(one.pool, one.name, one.project), "srv", fresh),
        join(d.rootfs(one.pool, one.name, one.project), "etc", fresh),
      );
    case "set a config key":
      return incus("config", "set", one.name, `user.by-hand=${fresh}`);
    case "delete one that is not listed":
      return incus("delete", "--force", one.name);
  }
}
