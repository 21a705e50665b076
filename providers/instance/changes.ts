import { z } from "zod";
import { rootDisk } from "../incus/root-disk.ts";
import type { Instance } from "../incus/schemas.ts";
import { FILES_KEY, SET_KEY } from "../marks/keys.ts";
import { configDrift, deviceDrift } from "../pulumi/drift.ts";
import { type InstanceSettings, wantedConfig, wantedDevices } from "./config.ts";
import { filesMark, type InstanceFile } from "./files.ts";
import { liveRootName } from "./root.ts";

/** What differs on the host from what was set. The root disk's pool is placement and no drift. */
export function driftOf(args: InstanceSettings, live: Instance): string[] {
  const pool = rootDisk(live.expanded_devices)?.pool ?? args.pool;
  const isSecret = (prop: string): boolean => args.secretProps?.includes(prop) ?? false;
  const { [FILES_KEY]: mark, [SET_KEY]: set, ...wanted } = wantedConfig(args);
  // Instances of 0.1 have no marks.
  if (mark !== undefined && live.config[FILES_KEY] !== undefined) wanted[FILES_KEY] = mark;
  if (set !== undefined && live.config[SET_KEY] !== undefined) wanted[SET_KEY] = set;
  const profiles =
    args.profiles.join(",") === live.profiles.join(",") ? [] : [`profiles are ${live.profiles.join(",")}`];
  return [
    ...configDrift(wanted, live.config, isSecret("config")),
    ...deviceDrift(wantedDevices(args, pool, liveRootName(live)), live.devices, isSecret("devices")),
    ...profiles,
  ];
}

/**
 * What an `up` with these args changes in place on an instance that is there, for people and without any secret:
 * `limits.memory is 1GiB, not 2GiB`, `file /etc/agent.conf`, `limits.cpu is taken out`. Image and owner are left out:
 * what differs there takes a new container, or is another's.
 * @param unknown stands for a value that the config encrypts and that was not decrypted: it is compared with nothing
 */
function changesInPlace(args: InstanceSettings, live: Instance, unknown?: string): string[] {
  const { environment, config, files } = args;
  const known = (values: Record<string, string>): Record<string, string> =>
    Object.fromEntries(Object.entries(values).filter(([, value]) => value !== unknown));
  const devices = Object.entries(args.devices).map(([name, device]) => [name, known(device)]);
  const compared = {
    ...args,
    ...{ environment: known(environment), config: known(config), devices: Object.fromEntries(devices) },
  };
  const drift = driftOf({ ...compared, files: [] }, live);
  const others = drift.filter((one) => !/^user\.taos\.(image|owner|files|set) /.test(one));
  const readable = files.filter(({ content }) => content === undefined || content !== unknown);
  const paths = filesNotAsMarked(readable, live).map(({ path }) => `file ${path}`);
  return [...others, ...paths, ...takenOut(args, live)];
}

/**
 * Tells the changes of each agent of a config.
 * @param encrypted stands for a value that is encrypted and was not decrypted
 */
export function agentChanges(
  agents: readonly InstanceSettings[],
  encrypted: string,
): (live: Instance) => string[] {
  return (live) => {
    const wanted = agents.find(({ name, project }) => name === live.name && project === live.project);
    return wanted ? changesInPlace(wanted, live, encrypted) : [];
  };
}

/** Files that the mark on the instance says something else of, or nothing; none where there is no mark. */
export function filesNotAsMarked(
  files: readonly InstanceFile[],
  live: Pick<Instance, "config">,
): InstanceFile[] {
  const mark = live.config[FILES_KEY];
  if (mark === undefined) return [];
  const marked = Marked.safeParse(JSON.parse(mark)).data ?? {};
  return files.filter((file) => filesMark([file]) !== JSON.stringify({ [file.path]: marked[file.path] }));
}

const Marked = z.record(z.string(), z.string());
const Names = z.array(z.string());

function takenOut(args: InstanceSettings, live: Instance): string[] {
  const mark = live.config[SET_KEY];
  if (mark === undefined) return [];
  const before = Names.safeParse(JSON.parse(mark)).data ?? [];
  const now = Names.parse(JSON.parse(wantedConfig(args)[SET_KEY] ?? "[]"));
  return before.filter((name) => !now.includes(name)).map((name) => `${name} is taken out`);
}
