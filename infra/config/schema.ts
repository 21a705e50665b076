import { HostConnection, ObjectName, PoolName, parseTrustToken } from "@taos-hosts/providers";
import { z } from "zod";
import { Agent, Container } from "./container-schema.ts";
import { Image } from "./image-schema.ts";
import { list, section, strict } from "./sections.ts";
import { ENCRYPTED } from "./stack-yaml.ts";
import { AbsolutePath, Size } from "./values.ts";

/** Where the pool's data lives. Incus' own directory is no place for one: 6.0.4 accepts it and corrupts images (incus#3658). */
const PoolSource = z
  .string()
  .max(4_096, "must have at most 4096 characters")
  .refine((source) => source === "loop" || AbsolutePath.safeParse(source).success, {
    error: "must be loop, a block device /dev/…, or an absolute path that holds no .. part",
  })
  .refine((source) => !/^\/var\/lib\/incus(\/|$)/.test(source.replaceAll(/\/+/g, "/")), {
    error: "must not be below /var/lib/incus: that is Incus' own. Use loop, or a path elsewhere on btrfs",
  });

const Pool = strict({
  /** @default the pool of the default profile's root disk; `default` on a host whose profile has none */
  name: PoolName.optional(),
  /** `auto` is btrfs wherever the host can, zfs only where it cannot and zfs is there already. @default auto */
  driver: z
    .enum(["auto", "btrfs", "zfs", "dir"], { error: "must be one of auto, btrfs, zfs, dir" })
    .default("auto"),
  /** `loop`, a block device `/dev/…`, or a path on btrfs. @default loop */
  source: PoolSource.default("loop"),
  /** Bytes; loop files only. @default 50 GiB, or 60 % of what is free if that is less */
  size: Size.optional(),
  /**
   * Whether there is a copy-on-write pool `<name>-cow` beside a `dir` pool, for agents and migrated containers.
   * @default while `optIn.migrate` names anything, and for good once a migration has made it
   */
  cow: z.boolean().optional(),
});

const Names = list(z.string()).transform((names) => [...new Set(names)]);

const OptIn = strict({
  /** Containers to move to the copy-on-write pool. */
  migrate: Names,
  /** Containers that may get a local root disk naming the pool they are on. */
  pinRoot: Names,
  /** Agents that may be made anew from their image; the old one is parked. */
  replace: Names,
  /** Containers to put back on the kept source of their migration; what was written since is parked. */
  undo: Names,
  /** Names whose parked copy may be deleted. */
  removeParked: Names,
  /** Containers that may be killed where they do not stop in time. */
  forceStop: Names,
});

const Tls = HostConnection.shape.tls.unwrap().extend({
  /** Trust token of `incus config trust add`: pins the server, and has it trust this client once. A secret. */
  token: z
    .string()
    .trim()
    .refine((text) => text === ENCRYPTED || parseTrustToken(text) !== undefined, {
      error: "is no trust token: it is the text that incus config trust add NAME prints on the host",
    })
    .optional(),
});

const Prepare = strict({
  /** Where Incus listens, as in `core.https_address`. */
  httpsAddress: z
    .string()
    .regex(
      /^(\d{1,3}(\.\d{1,3}){3}|\[[0-9A-Fa-f:]+\])?:\d{1,5}$/,
      "must be an address with a port, or a port alone: :8443",
    )
    .optional(),
});

/** One host as written, defaults applied. `config.ts` adds the name and settles projects and images. */
export const HostSchema = section(
  strict({
    connection: HostConnection.shape.connection.default("unix"),
    tls: Tls.optional(),
    /** Whether Incus is installed there, and with what. @default false */
    prepare: z.preprocess(
      (value) => (value === true ? {} : value === false ? undefined : value),
      Prepare.optional(),
    ),
    /** Of containers, agents and images that name none. @default that of the connection's remote, else `default` */
    project: ObjectName.optional(),
    pool: section(Pool),
    /** A bridge to make where it is missing. @default incusbr0, where the default profile has no network interface */
    bridge: ObjectName.max(
      15,
      "must have at most 15 characters, the kernel's limit for interfaces",
    ).optional(),
    images: list(Image),
    containers: section(z.record(z.string(), Container)),
    agents: section(z.record(z.string(), Agent)),
    optIn: section(OptIn),
    /** Containers that migrate at the same time. */
    migrateParallel: z.int().min(1, "must be at least 1").max(16, "must be at most 16").default(1),
  }),
);
export type ParsedHost = z.output<typeof HostSchema>;

/** Host names occur in URNs and in paths of messages: letters, digits, dot, dash, underscore. */
export const HostName = z
  .string()
  .max(64, "must have at most 64 characters")
  .regex(
    /^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/,
    "must be letters, digits and . _ - and start and end with a letter or digit",
  );
