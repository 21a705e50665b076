import { z } from "zod";
import { BYTES_PATTERN } from "../common/bytes.ts";
import { ImageAliasName, InstanceName, ObjectName, PoolName } from "../common/names.ts";
import { FILES_KEY, IMAGE_KEY, OWNER_KEY, PROTECTED_KEY, SET_KEY } from "../marks/keys.ts";
import { PlacementOptIns } from "../placement/placement.ts";
import { CommonArgs } from "../pulumi/lifecycle.ts";
import { filesMark, InstanceFile } from "./files.ts";

const Size = z.string().regex(BYTES_PATTERN, "must be a size such as 2GiB");
/** Control characters in a value reach the LXC config of Incus before 6.21 as lines of their own (CVE-2026-23953). */
const EnvironmentValue = z
  .string()
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  .regex(/^[^\x00-\x08\x0a-\x1f]*$/, "must hold no newline or control character");
const EnvironmentName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "must be a variable name");

/** When an instance counts as up: it has an IPv4 address, a command in it succeeds, or as soon as it is started. */
export const Readiness = z.union([
  z.enum(["network", "none"]),
  z.strictObject({ command: z.array(z.string().min(1)).min(1) }),
]);
export type Readiness = z.infer<typeof Readiness>;

/**
 * A container that this stack creates: one create request with everything set, files written, started once, ready.
 *
 * @example
 * new Instance("orange-1/iris", { host, owner, name: "taos-agent-iris", image: "taos-openclaw-base", pool: "default" });
 * @example
 * new Instance("orange-1/iris", { host, owner, name: "taos-agent-iris", image: "taos-openclaw-base", pool: "default",
 *   memory: "2GiB", cpu: "2", disk: "40GiB", idmapUid: 1000, environment: pulumi.secret({ TAOS_BRIDGE_TOKEN: token }),
 *   files: [{ path: "/root/.openclaw/openclaw.json", content: "{}" }] });
 */
export const InstanceArgs = CommonArgs.extend({
  name: InstanceName,
  project: ObjectName.default("default"),
  image: ImageAliasName,
  /** Pool of the root disk at creation. Later changes of it move nothing: that is InstancePlacement's. */
  pool: PoolName,
  /** @default ["default"] */
  profiles: z.array(ObjectName).default(["default"]),
  description: z.string().default(""),
  /** `limits.memory`, for example `2GiB`. */
  memory: Size.optional(),
  /** `limits.cpu`: a number of cores or a set such as `0-3`. */
  cpu: z
    .string()
    .regex(/^\d+([-,]\d+)*$/, "must be a number of cores or a set such as 0-3")
    .optional(),
  /** Size of the root disk. */
  disk: Size.optional(),
  /** Maps this user of the host to root in the container: `raw.idmap` `both <uid> 0`, set before the first start. */
  idmapUid: z.number().int().min(1).max(4_294_967_294).optional(),
  /** Environment variables. Always kept as secrets. */
  environment: z.record(EnvironmentName, EnvironmentValue).default({}),
  /** Any other Incus config keys. */
  config: z.record(z.string().min(1), z.string()).default({}),
  /** Any Incus devices, by name. A device named root adds keys to the root disk. */
  devices: z.record(ObjectName, z.record(z.string(), z.string())).default({}),
  /** Always kept as secrets. */
  files: z.array(InstanceFile).default([]),
  ready: Readiness.default("network"),
  /** Milliseconds until an instance that is not ready counts as failed. @default 120000 */
  readyTimeout: z.number().int().min(1_000).default(120_000),
  /** A protected instance is never deleted or replaced. @default true */
  protected: z.boolean().default(true),
  /** Opt-in: a change of image or project makes the instance anew; the old one is parked. @default false */
  allowReplace: z.boolean().default(false),
  /** Names of further args that hold secrets, beside `environment` and `files`. */
  secretProps: z.array(z.string()).optional(),
  /** Opt-ins about the pool that it is on; absent where none names it. */
  placement: PlacementOptIns.optional(),
  /** Opt-in: the parked predecessor is deleted. @default false */
  removeParked: z.boolean().default(false),
});
export type InstanceArgs = z.infer<typeof InstanceArgs>;

/** What of the args is written on the instance. */
export type InstanceSettings = Pick<
  InstanceArgs,
  | "owner"
  | "name"
  | "project"
  | "image"
  | "pool"
  | "profiles"
  | "memory"
  | "cpu"
  | "disk"
  | "idmapUid"
  | "environment"
  | "config"
  | "devices"
  | "files"
  | "protected"
  | "secretProps"
>;

/** Names of settings, devices and disk size that are set: plain text of a canonical form. */
function setMark(config: Record<string, string>, { devices, disk }: InstanceSettings): string {
  const names = [
    ...Object.keys(config),
    ...Object.keys(devices).map((name) => `device ${name}`),
    ...(disk === undefined ? [] : ["disk"]),
  ];
  return JSON.stringify(names.sort());
}

/** Config of the instance as wanted, apart from volatile keys and the stage. Values of `environment.*` are secrets. */
export function wantedConfig(args: InstanceSettings): Record<string, string> {
  const config: Record<string, string> = { ...args.config };
  if (args.memory !== undefined) config["limits.memory"] = args.memory;
  if (args.cpu !== undefined) config["limits.cpu"] = args.cpu;
  if (args.idmapUid !== undefined) config["raw.idmap"] = `both ${args.idmapUid} 0`;
  for (const [name, value] of Object.entries(args.environment)) config[`environment.${name}`] = value;
  config[SET_KEY] = setMark(config, args);
  config[OWNER_KEY] = args.owner;
  config[IMAGE_KEY] = args.image;
  config[PROTECTED_KEY] = String(args.protected);
  if (args.files.length > 0) config[FILES_KEY] = filesMark(args.files);
  return config;
}

/**
 * Local devices as wanted, the root disk on `pool` among them.
 * @param root name of the root disk: that of the profiles' one, which it takes the place of
 */
export function wantedDevices(
  args: InstanceSettings,
  pool: string,
  root: string,
): Record<string, Record<string, string>> {
  const size = args.disk === undefined ? {} : { size: args.disk };
  const { root: further, ...devices } = args.devices;
  return { ...devices, [root]: { ...further, type: "disk", path: "/", pool, ...size } };
}
