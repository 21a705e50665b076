import { readFile } from "node:fs/promises";
import { VisibleError } from "@taos-hosts/providers";
import { type HostConfig, parseHost, schemaIssues } from "../config/config.ts";
import type { ConfigIssue } from "../config/rules.ts";
import { readYaml, withoutSecrets } from "../config/stack-yaml.ts";
import { configPath } from "../config/text.ts";
import { merge } from "./merge.ts";
import { FleetSchema, HostEntry } from "./schema.ts";
import { stackText } from "./stack-text.ts";
import { type FleetWave, partition } from "./waves.ts";

/** One host of a fleet, which is a stack of its own with the same name. */
export interface FleetHost {
  name: string;
  tags: string[];
  /** Why no run writes to it; null where it is not paused. */
  paused: string | null;
  /** From 1 on. */
  wave: number;
  config: HostConfig;
  /** Paths of encrypted values below the hosts, as `Sealing` takes them. */
  encrypted: PropertyKey[][];
  /** Text of its stack's config. */
  text: string;
}

export interface Fleet {
  hosts: FleetHost[];
  waves: FleetWave[];
}

/** Reads a fleet file. @throws VisibleError where it is not there, or naming each mistake with its config path */
export async function readFleet(file: string): Promise<Fleet> {
  const text = await readFile(file, "utf8").catch(() => {
    throw new VisibleError(
      `There is no ${file}. docs/fleet.md has one to begin with; --file F names another.`,
    );
  });
  return parseFleet(text, file);
}

/** @param file for messages. @throws VisibleError naming each mistake with its config path. Pure */
export function parseFleet(text: string, file: string): Fleet {
  const read = readYaml(text);
  if ("problem" in read) throw new VisibleError(`${file} ${read.problem}`);
  const parsed = FleetSchema.safeParse(read.content ?? {});
  if (!parsed.success) throw mistakes(file, parsed.error.issues.flatMap(schemaIssues).map(lineOf));
  const { defaults, waves, encryptionsalt } = parsed.data;
  const problems: string[] = [];
  const hosts = Object.entries(parsed.data.hosts).flatMap(([name, entry]): FleetHost[] => {
    const { tags, paused } = HostEntry.parse(entry);
    const own = Object.fromEntries(
      Object.entries(entry).filter(([key]) => key !== "tags" && key !== "paused"),
    );
    const merged = merge(defaults, own);
    const encrypted: PropertyKey[][] = [];
    const { host, issues } = parseHost(name, withoutSecrets(merged, [name], encrypted));
    problems.push(...issues.map((issue) => lineOf(placed(issue, name, own, defaults))));
    if (!host) return [];
    const why = parsed.data.paused ?? paused ?? null;
    const salt = encrypted.length > 0 ? encryptionsalt : undefined;
    return [
      { name, tags, paused: why, wave: 0, config: host, encrypted, text: stackText(name, merged, salt) },
    ];
  });
  if (problems.length === 0) problems.push(...sameHosts(hosts), ...waveProblems(hosts, waves));
  if (problems.length > 0) throw mistakes(file, problems);
  const made = partition(hosts, waves);
  const waveOf = new Map(made.flatMap((wave, index) => wave.hosts.map((name) => [name, index + 1] as const)));
  return { hosts: hosts.map((host) => ({ ...host, wave: waveOf.get(host.name) ?? 0 })), waves: made };
}

/** The mistake at the place where it was written: a default is wrong once, not at every host. */
function placed({ path, reason }: ConfigIssue, name: string, own: unknown, defaults: unknown): ConfigIssue {
  const isDefault = !holds(own, path) && holds(defaults, path);
  return { path: isDefault ? ["defaults", ...path] : ["hosts", name, ...path], reason };
}

function holds(value: unknown, path: readonly PropertyKey[]): boolean {
  const [key, ...rest] = path;
  if (key === undefined) return true;
  return (
    typeof value === "object" &&
    value !== null &&
    Object.hasOwn(value, key) &&
    holds(Reflect.get(value, key), rest)
  );
}

/** One host under two names would be two stacks', each undoing what the other does. */
function sameHosts(hosts: readonly FleetHost[]): string[] {
  const names = new Map<string, string>();
  return hosts.flatMap(({ name, config }) => {
    const place = JSON.stringify([config.connection.connection, config.project]);
    const other = names.get(place);
    names.set(place, other ?? name);
    const reason = `is that of host "${other}", in the same project`;
    return other === undefined ? [] : [lineOf({ path: ["hosts", name, "connection"], reason })];
  });
}

function waveProblems(
  hosts: readonly FleetHost[],
  waves: readonly { hosts?: string[] | undefined; tag?: string | undefined }[],
): string[] {
  const seen = new Set<string>();
  return waves.flatMap((wave, index) => [
    ...(wave.hosts ?? []).flatMap((name, at) => {
      const path = ["waves", index, "hosts", at];
      if (!hosts.some((host) => host.name === name))
        return [lineOf({ path, reason: `there is no host "${name}"` })];
      if (seen.has(name)) return [lineOf({ path, reason: `host "${name}" is in a wave already` })];
      seen.add(name);
      return [];
    }),
    ...(wave.tag === undefined || hosts.some(({ tags }) => tags.includes(wave.tag ?? ""))
      ? []
      : [lineOf({ path: ["waves", index, "tag"], reason: `no host has the tag "${wave.tag}"` })]),
  ]);
}

function lineOf({ path, reason }: ConfigIssue): string {
  return `${configPath(path) || "the file"}: ${reason}${/[.?]$/.test(reason) ? "" : "."}`;
}

function mistakes(file: string, lines: readonly string[]): VisibleError {
  const once = [...new Set(lines)];
  const count = once.length === 1 ? "is 1 mistake" : `are ${once.length} mistakes`;
  return new VisibleError(`There ${count} in ${file}; nothing was done.\n${once.join("\n")}`);
}
