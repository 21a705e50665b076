import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeOddFiles } from "../providers/migration/odd-files.ts";
import type { HostsConfig } from "../pulumi/stack.ts";
import type { IncusDaemon } from "../testbed/daemon.ts";
import { importImage } from "../testbed/images.ts";
import type { ContainerStory, StepStory, Story } from "./story.ts";

/** Name of the second project. */
const SIDE = "side";
/** Name of the stack's own agent. */
export const AGENT = "taos-agent-iris";
/** The file that the config gives the agent. */
export const AGENT_FILE = "/etc/agent.conf";
/** A directory of the host that containers have as a disk: nobody but they may touch it. */
export const sharedDir = (d: IncusDaemon): string => join(d.dataDir, "shared");

/** Project settings of each kind of second project. */
const SIDE_SETTINGS: Record<Story["side"], string[]> = {
  none: [],
  "own profiles": ["features.images=false"],
  "shared profiles": ["features.images=false", "features.profiles=false"],
  limited: ["features.images=false"],
  "limited, low level allowed": ["features.images=false"],
  restricted: ["features.images=false"],
};

/** What is set once the containers are there, as an administrator tightens a project in use. */
const LATER_SETTINGS: Partial<Record<Story["side"], string[]>> = {
  limited: ["limits.containers=20"],
  // Incus judges all devices as soon as any restricted.* is set, also where the project is not restricted.
  "limited, low level allowed": [
    "limits.containers=20",
    "restricted.containers.lowlevel=allow",
    "restricted.devices.disk=allow",
  ],
  restricted: ["restricted=true", "restricted.snapshots=allow", "restricted.devices.disk=allow"],
};

/** Makes the host of a story on a virgin daemon: a dir pool, projects, profiles, containers. */
export async function makeHost(d: IncusDaemon, story: Story): Promise<void> {
  await d.incus("storage", "create", "default", "dir");
  await d.incus("network", "create", "incusbr0", "ipv6.address=none");
  await importImage(d, "bb");
  await makeProfiles(d, story, "default");
  if (story.side !== "none") {
    const settings = SIDE_SETTINGS[story.side].flatMap((setting) => ["-c", setting]);
    await d.incus("project", "create", SIDE, ...settings);
    if (story.side !== "shared profiles") await makeProfiles(d, story, SIDE);
  }
  await mkdir(sharedDir(d), { recursive: true });
  await writeFile(join(sharedDir(d), "of-the-host"), "not to be touched");
  for (const container of story.containers) await makeContainer(d, story, container);
  if (hasNamesake(story)) await d.incus("create", "bb", firstOf(story).name, ...placeOf(story, true));
  // All at once: one after the other, the first would forbid what a later one allows.
  const later = LATER_SETTINGS[story.side] ?? [];
  if (later.length > 0) await d.incus("project", "set", SIDE, ...later);
}

async function makeProfiles(d: IncusDaemon, story: Story, project: string): Promise<void> {
  const profile = ["--project", project, "profile"];
  const holder = story.rootFromOther ? "disks" : "default";
  if (story.rootFromOther) await d.incus(...profile, "create", "disks");
  await d.incus(...profile, "device", "add", holder, story.rootName, "disk", "path=/", "pool=default");
  await d.incus(...profile, "device", "add", "default", "eth0", "nic", "network=incusbr0", "name=eth0");
}

/** Project that a container of the story is in. */
export function projectOf(story: Story, { aside }: Pick<ContainerStory, "aside">): string {
  return aside && story.side !== "none" ? SIDE : "default";
}

function placeOf(story: Story, aside: boolean): string[] {
  const profiles = story.rootFromOther ? ["--profile", "default", "--profile", "disks"] : [];
  return ["--project", projectOf(story, { aside }), ...profiles];
}

function firstOf(story: Story): ContainerStory {
  const [first] = story.containers;
  if (!first) throw new Error("A story has at least one container");
  return first;
}

function hasNamesake(story: Story): boolean {
  return story.namesake && story.side !== "none" && !firstOf(story).aside;
}

async function makeContainer(d: IncusDaemon, story: Story, container: ContainerStory): Promise<void> {
  const { name, aside, snapshots, oddFiles, autostart, ownRoot, running } = container;
  const project = projectOf(story, { aside });
  const flags = [
    ...placeOf(story, aside),
    ...(autostart ? ["--config", "boot.autostart=true"] : []),
    ...(ownRoot ? ["--device", `${story.rootName},pool=default`] : []),
  ];
  await d.incus("create", "bb", name, ...flags);
  const root = d.rootfs("default", name, project);
  await writeFile(join(root, "srv/memory"), `memory of ${name}`);
  await symlink("memory", join(root, "srv/link"));
  if (oddFiles) await writeOddFiles(root, "odd");
  const disk = [`source=${sharedDir(d)}`, "path=/mnt/shared"];
  if (oddFiles)
    await d.incus("config", "device", "add", name, "shared", "disk", ...disk, "--project", project);
  if (running) await d.incus("start", name, "--project", project);
  for (let index = 0; index < snapshots; index++) {
    await d.incus("snapshot", "create", name, `day-${index}`, "--project", project);
    await writeFile(join(root, `srv/since-day-${index}`), `written after day ${index}`);
  }
}

/** Names of the containers that the config lists, in the story's order. */
export function listedNames(story: Story): string[] {
  return story.containers.filter(({ listed }) => listed).map(({ name }) => name);
}

/** The opt-ins of a step, by name. An undo goes before what contradicts it. */
export function optInOf(story: Story, step: StepStory): Record<string, string[]> {
  const listed = listedNames(story);
  const namesOf = (positions: number[]): string[] =>
    listed.length === 0 ? [] : [...new Set(positions.map((one) => listed[one % listed.length] ?? ""))];
  const undo = namesOf(step.undo);
  const notUndone = (positions: number[]): string[] =>
    namesOf(positions).filter((name) => !undo.includes(name));
  return {
    undo,
    migrate: notUndone(step.migrate),
    removeParked: notUndone(step.removeParked),
    pinRoot: namesOf(step.pinRoot),
  };
}

/** The config of a step; without opt-ins where `optIn` is empty. */
export function configOf(
  d: IncusDaemon,
  story: Story,
  step: StepStory,
  optIn: Record<string, string[]>,
): HostsConfig {
  const listed = story.containers.filter(({ listed: isListed }) => isListed);
  const { agent } = step;
  return {
    board: {
      connection: `unix:${d.socketPath}`,
      pool: { size: "6GiB" },
      images: ["bb"],
      containers: Object.fromEntries(
        listed.map((container) => [container.name, { project: projectOf(story, container) }]),
      ),
      ...(agent.declared
        ? {
            agents: {
              [AGENT]: {
                image: "bb",
                protected: false,
                ...(agent.memory === "none" ? {} : { memory: agent.memory }),
                environment: { WORDS: agent.environment },
                config: { "user.note": agent.note },
                files: [{ path: AGENT_FILE, content: agent.content, mode: agent.mode, uid: 7, gid: 7 }],
              },
            },
          }
        : {}),
      optIn,
    },
  };
}
