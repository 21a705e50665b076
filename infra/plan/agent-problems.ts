import {
  creationRefusal,
  givenRoots,
  type HostLook,
  imageNamed,
  imageStore,
  ownRootName,
  type Problem,
  type ProfileLook,
  parseBytes,
} from "@taos-hosts/providers";
import type { AgentConfig } from "../config/config.ts";
import { profileProject } from "./scene.ts";
import { nearest } from "./words.ts";

/**
 * What Incus would refuse of an agent, or what it could never get ready with: said before anything is written.
 * @param isNetworkAdded the plan adds a network interface to the default profile of project default
 */
export function agentProblem(
  agent: AgentConfig,
  look: HostLook,
  isNew: boolean,
  isNetworkAdded: boolean,
): Problem | undefined {
  const project = profileProject(look, agent.project);
  const known = look.profiles.filter((profile) => profile.project === project);
  const profiles: ProfileLook[] = [];
  for (const name of agent.profiles) {
    const profile = known.find((one) => one.name === name);
    if (!profile) return missingProfile(name, project, known);
    profiles.push(profile);
  }
  return (
    rootProblem(agent, profiles) ??
    networkProblem(agent, look) ??
    (isNew ? creationProblem(agent, look, profiles, isNetworkAdded) : undefined)
  );
}

function missingProfile(name: string, project: string, known: readonly ProfileLook[]): Problem {
  const names = known.map((one) => one.name);
  return {
    reason: `its profile ${name} is not in project ${project}`,
    remedy: `${nearest("There", name, names)}Correct it under profiles, or make it there.`,
  };
}

function rootProblem(agent: AgentConfig, profiles: readonly ProfileLook[]): Problem | undefined {
  const devices = profiles.map(({ disks }) =>
    Object.fromEntries(Object.entries(disks).map(([name, disk]) => [name, { ...disk, type: "disk" }])),
  );
  const root = ownRootName(devices);
  if (root === undefined) {
    return {
      reason: `its profiles ${agent.profiles.join(", ")} give two root disks, ${givenRoots(devices).join(" and ")}, and Incus takes one`,
      remedy: "Give both devices one name, or take one of the profiles out.",
    };
  }
  if (root === "root" || agent.devices[root] === undefined) return undefined;
  return {
    reason: `its device ${root} has the name of the root disk that its profiles give`,
    remedy: "Give the device another name; further keys of the root disk go under devices.root.",
  };
}

/** Networks that its own devices name; those of profiles are Incus' to keep. */
function networkProblem(agent: AgentConfig, look: HostLook): Problem | undefined {
  if (look.projects.find(({ name }) => name === agent.project)?.ownNetworks) return undefined;
  const names = look.networks.map(({ name }) => name);
  for (const [device, { type, network }] of Object.entries(agent.devices)) {
    if (type !== "nic" || network === undefined || names.includes(network)) continue;
    return {
      reason: `network ${network} of its device ${device} is not on the host`,
      remedy: `${nearest("There", network, names)}Correct it, or make it there (incus network create).`,
    };
  }
  return undefined;
}

function creationProblem(
  agent: AgentConfig,
  look: HostLook,
  profiles: readonly ProfileLook[],
  isNetworkAdded: boolean,
): Problem | undefined {
  const limits = Object.assign({}, ...profiles.map((profile) => definedOf(profile.limits ?? {})));
  const counted = {
    ...limits,
    ...definedOf({
      memory: agent.memory,
      cpu: agent.cpu,
      processes: agent.config["limits.processes"],
      disk: agent.disk === undefined ? undefined : parseBytes(agent.disk),
    }),
  };
  const hasRaw =
    agent.idmapUid !== undefined || Object.keys(agent.config).some((key) => key.startsWith("raw."));
  const rules = look.projects.find(({ name }) => name === agent.project);
  const refused = creationRefusal(agent.project, rules, counted, hasRaw);
  if (refused) return refused;
  const store = imageStore(look.projects, agent.project);
  if (
    !imageNamed(look.images, store, agent.image) &&
    agent.project !== "default" &&
    store === agent.project &&
    look.images.some(({ aliases }) => aliases.includes(agent.image))
  ) {
    return {
      reason: `image ${agent.image} is not in its project ${agent.project}, which has images of its own`,
      remedy: `Copy it there (incus image copy ${agent.image} local: --target-project ${agent.project} --copy-aliases), or set project of the host.`,
    };
  }
  if (agent.ready !== "network") return undefined;
  const has =
    profiles.some(
      ({ name, project, networks }) =>
        networks.length > 0 || (isNetworkAdded && name === "default" && project === "default"),
    ) || Object.values(agent.devices).some(({ type }) => type === "nic");
  if (has) return undefined;
  return {
    reason: `neither its profiles (${agent.profiles.join(", ") || "none"}) nor its devices give it a network interface, so it would never be ready`,
    remedy: `Add one to a profile (incus profile device add default eth0 nic network=… name=eth0 --project ${agent.project}) or under devices, or set ready: none.`,
  };
}

function definedOf<T extends object>(values: T): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>;
}
