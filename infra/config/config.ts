import {
  type HostConnection,
  type PrepareWish,
  parseTrustToken,
  projectOf,
  VisibleError,
} from "@taos-hosts/providers";
import type { ImageConfig } from "./image-schema.ts";
import { mapValues } from "./map-values.ts";
import { type ConfigIssue, hostIssues } from "./rules.ts";
import { HostName, HostSchema, type ParsedHost } from "./schema.ts";
import { HOSTS_KEY } from "./stack-yaml.ts";
import { configPath } from "./text.ts";

/** An existing container and what may be done to it. Times in ms. */
export type ContainerConfig = Omit<ParsedHost["containers"][string], "project"> & { project: string };

/** A container that this stack creates. Times in ms; `environment` values and `files` are secrets. */
export type AgentConfig = Omit<ParsedHost["agents"][string], "project"> & {
  project: string;
  /** Keys of it below which the config holds anything encrypted. */
  secretProps?: string[];
};

/** Without a name the pool is the host's to say: see `poolWishes`. */
export type PoolConfig = ParsedHost["pool"];
export type OptInConfig = ParsedHost["optIn"];

/** One host of the stack config, defaults applied. The pool's size in bytes, times in ms. */
export interface HostConfig {
  name: string;
  /** How to reach it, as the resources take it. */
  connection: HostConnection;
  /** Has the host trust this client, once. A secret, which no resource gets. */
  trustToken?: string;
  /** What the host is prepared with before anything else; undefined where it is not. */
  prepare: PrepareWish | undefined;
  /** Project of containers, agents and images that name none. */
  project: string;
  pool: PoolConfig;
  /** Bridge that the config asks for; undefined where it leaves that to the host. */
  bridge: string | undefined;
  /** Images to warm: those listed, and those that agents name. */
  images: ImageConfig[];
  containers: Record<string, ContainerConfig>;
  agents: Record<string, AgentConfig>;
  optIn: OptInConfig;
  migrateParallel: number;
}

/**
 * Parses the value of `taos-hosts:hosts`. Looks at no host, and at no file but the Incus client's config, for hosts
 * that are one of its remotes.
 * @throws VisibleError listing everything that is wrong, each with its config path
 */
export function parseHosts(raw: unknown): Record<string, HostConfig> {
  if (typeof raw !== "object" || raw === null || Array.isArray(raw) || Object.keys(raw).length === 0) {
    throw new VisibleError(
      `${HOSTS_KEY}: must be a map with at least one host; nothing was done. Example: pulumi config set --path '${HOSTS_KEY}.my-host.connection' unix`,
    );
  }
  const hosts: Record<string, HostConfig> = {};
  const problems: string[] = [];
  for (const [name, value] of Object.entries(raw)) {
    const { host, issues } = parseHost(name, value);
    for (const { path, reason } of issues)
      problems.push(
        `${HOSTS_KEY}.${configPath([name, ...path])}: ${reason}${/[.?]$/.test(reason) ? "" : "."}`,
      );
    if (host) hosts[name] = host;
  }
  if (problems.length > 0) {
    const count = problems.length === 1 ? "is 1 mistake" : `are ${problems.length} mistakes`;
    throw new VisibleError(`There ${count} in the stack config; nothing was done.\n${problems.join("\n")}`);
  }
  return hosts;
}

/** One host of the config, or what is wrong with it, at paths below it. Pure. */
export function parseHost(name: string, value: unknown): { host?: HostConfig; issues: ConfigIssue[] } {
  const named = HostName.safeParse(name);
  if (!named.success)
    return { issues: [{ path: [], reason: `a host's name ${named.error.issues[0]?.message ?? ""}` }] };
  const parsed = HostSchema.safeParse(value);
  if (!parsed.success) return { issues: parsed.error.issues.flatMap(schemaIssues) };
  const issues = hostIssues(parsed.data);
  if (issues.length > 0) return { issues };
  try {
    return { host: settle(name, parsed.data), issues };
  } catch (error) {
    if (!(error instanceof VisibleError)) throw error;
    return { issues: [{ path: ["connection"], reason: error.message }] };
  }
}

type SchemaIssue = {
  code?: string | undefined;
  path: PropertyKey[];
  message: string;
  keys?: string[];
  expected?: string;
};

/** One issue per unknown key, at the key's own path; the schema gives one line per key. */
export function schemaIssues(issue: SchemaIssue): ConfigIssue[] {
  if (issue.code !== "unrecognized_keys" || !issue.keys)
    return [{ path: issue.path, reason: reasonOf(issue) }];
  const lines = issue.message.split("\n");
  return issue.keys.map((key, index) => ({
    path: [...issue.path, key],
    reason: lines[index] ?? "unknown key",
  }));
}

function reasonOf({ code, message, expected }: SchemaIssue): string {
  if (code !== "invalid_type" || !message.startsWith("Invalid input")) return message;
  if (message.endsWith("undefined")) return "is missing";
  return `must be ${TYPES[expected ?? ""] ?? expected ?? "something else"}`;
}

/** Words of a config file for zod's. */
const TYPES: Record<string, string> = {
  object: "a map",
  record: "a map",
  array: "a list",
  string: "a text",
  boolean: "true or false",
  int: "a whole number",
  number: "a number",
};

function settle(name: string, host: ParsedHost): HostConfig {
  const {
    connection,
    tls,
    prepare,
    project = projectOf(connection),
    pool,
    bridge,
    optIn,
    migrateParallel,
  } = host;
  const inProject = <T extends { project?: string | undefined }>(entry: T) => ({
    ...entry,
    project: entry.project ?? project,
  });
  const listed = new Set(host.images.map(({ alias }) => alias));
  const named = new Set(Object.values(host.agents).map(({ image }) => image));
  const extra = [...named].filter((alias) => !listed.has(alias));
  return {
    name,
    connection: { name, connection, ...(tls ? { tls: withoutToken(tls) } : {}) },
    ...(tls?.token === undefined ? {} : { trustToken: tls.token }),
    prepare,
    project,
    pool,
    bridge,
    images: [...host.images, ...extra.map((alias): ImageConfig => ({ alias }))],
    containers: mapValues(host.containers, inProject),
    agents: mapValues(host.agents, inProject),
    optIn,
    migrateParallel,
  };
}

/** What resources get of it: a token's pin stays, where nothing else names one; one that is encrypted cannot be read. */
function withoutToken({ token = "", ...tls }: NonNullable<ParsedHost["tls"]>): HostConnection["tls"] {
  const isPinned = (tls.serverFingerprint ?? tls.serverCertificateFile) !== undefined;
  const fingerprint = parseTrustToken(token)?.fingerprint;
  return isPinned || fingerprint === undefined ? tls : { ...tls, serverFingerprint: fingerprint };
}
