import { z } from "zod";

/** String-to-string maps of Incus (`config`, one device). A caller without permission gets null: unknown, not empty. */
const StringMap = z.record(z.string(), z.string());
const Devices = z.record(z.string(), StringMap);
/** A field that Incus may leave out or send as null. */
const nullable = <T extends z.ZodType>(schema: T, fallback: z.output<T>) =>
  schema.nullish().transform((value): z.output<T> => value ?? fallback);

/** GET /1.0, the fields in use. */
export const Server = z.object({
  api_extensions: z.array(z.string()),
  auth: z.string(),
  /** How the caller is known: `unix`, `tls`. */
  auth_user_method: z.string().default(""),
  config: nullable(StringMap, {}),
  environment: z
    .object({
      architectures: nullable(z.array(z.string()), []),
      certificate_fingerprint: z.string().default(""),
      kernel_version: z.string().default(""),
      server_name: z.string().default(""),
      server_pid: z.number().default(0),
      server_version: z.string().default(""),
      storage_supported_drivers: nullable(z.array(z.object({ Name: z.string(), Version: z.string() })), []),
    })
    .optional(),
});
export type Server = z.infer<typeof Server>;

export const Project = z.object({ name: z.string(), config: nullable(StringMap, {}) });
export type Project = z.infer<typeof Project>;

export const StoragePool = z.object({
  name: z.string(),
  driver: z.string(),
  description: z.string().default(""),
  status: z.string().default(""),
  /** Null for callers that may not edit the pool: unknown. */
  config: StringMap.nullable(),
  used_by: nullable(z.array(z.string()), []),
});
export type StoragePool = z.infer<typeof StoragePool>;

/** Sizes in bytes. */
export const PoolResources = z.object({
  space: z.object({ used: z.number().default(0), total: z.number().default(0) }),
});
export type PoolResources = z.infer<typeof PoolResources>;

export const StorageVolume = z.object({
  name: z.string(),
  type: z.string(),
  project: z.string().default("default"),
});
export type StorageVolume = z.infer<typeof StorageVolume>;

export const StorageBucket = z.object({ name: z.string(), project: z.string().default("default") });
export type StorageBucket = z.infer<typeof StorageBucket>;

export const Network = z.object({
  name: z.string(),
  type: z.string(),
  managed: z.boolean(),
  /** `Created`; `Pending` where the client went away while Incus made it: then it works for nothing. */
  status: z.string().default(""),
  description: z.string().default(""),
  config: nullable(StringMap, {}),
  used_by: nullable(z.array(z.string()), []),
});
export type Network = z.infer<typeof Network>;

export const NetworkState = z.object({
  addresses: nullable(z.array(z.object({ address: z.string(), netmask: z.string() })), []),
});

export const Profile = z.object({
  name: z.string(),
  project: z.string().default("default"),
  description: z.string().default(""),
  config: nullable(StringMap, {}),
  devices: nullable(Devices, {}),
  used_by: nullable(z.array(z.string()), []),
});
export type Profile = z.infer<typeof Profile>;

export const Image = z.object({
  fingerprint: z.string(),
  type: z.string().default("container"),
  project: z.string().default("default"),
  architecture: z.string().default(""),
  size: z.number().default(0),
  cached: z.boolean().default(false),
  properties: nullable(StringMap, {}),
  aliases: nullable(z.array(z.object({ name: z.string() })), []),
});
export type Image = z.infer<typeof Image>;

export const ImageAlias = z.object({
  name: z.string(),
  target: z.string(),
});
export type ImageAlias = z.infer<typeof ImageAlias>;

export const Snapshot = z.object({
  name: z.string(),
  created_at: z.string().default(""),
  expires_at: z.string().default(""),
  stateful: z.boolean().default(false),
});
export type Snapshot = z.infer<typeof Snapshot>;

export const InstanceState = z.object({
  status: z.string(),
  pid: z.number().default(0),
  /** Bytes by disk device; `usage` is -1 or absent where the driver has no quota. */
  disk: nullable(z.record(z.string(), z.object({ usage: z.number().default(-1) })), {}),
  network: nullable(
    z.record(
      z.string(),
      z.object({
        hwaddr: z.string().default(""),
        addresses: nullable(
          z.array(z.object({ family: z.string(), address: z.string(), scope: z.string() })),
          [],
        ),
      }),
    ),
    {},
  ),
});
export type InstanceState = z.infer<typeof InstanceState>;

export const Instance = z.object({
  name: z.string(),
  type: z.string(),
  project: z.string().default("default"),
  status: z.string(),
  description: z.string().default(""),
  architecture: z.string().default(""),
  ephemeral: z.boolean().default(false),
  stateful: z.boolean().default(false),
  created_at: z.string().default(""),
  last_used_at: z.string().default(""),
  profiles: nullable(z.array(z.string()), []),
  config: nullable(StringMap, {}),
  devices: nullable(Devices, {}),
  expanded_config: nullable(StringMap, {}),
  expanded_devices: nullable(Devices, {}),
  /** Present with recursion=2 only. */
  state: InstanceState.nullish(),
  snapshots: z.array(Snapshot).nullish(),
  backups: z.array(z.object({ name: z.string() })).nullish(),
});
export type Instance = z.infer<typeof Instance>;

export const Operation = z.object({
  id: z.string(),
  status_code: z.number(),
  err: z.string().default(""),
  metadata: nullable(z.record(z.string(), z.unknown()), {}),
});
export type Operation = z.infer<typeof Operation>;

export const Lease = z.object({
  hostname: z.string(),
  hwaddr: z.string(),
  address: z.string(),
});
export type Lease = z.infer<typeof Lease>;

/** Every answer of the API. */
export const Envelope = z.object({
  type: z.enum(["sync", "async", "error"]),
  error: z.string().default(""),
  error_code: z.number().default(0),
  metadata: z.unknown(),
});
