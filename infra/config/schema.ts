import {
  HostConnection,
  ImageAliasName,
  type ImageSource,
  InstanceName,
  nearestNames,
  ObjectName,
  PoolName,
  parseBytes,
} from "@taos-hosts/providers";
import { z } from "zod";
import { quote } from "./text.ts";

/** A strict object whose error for each unknown key names the nearest known one; one line per key (see config.ts). */
function strict<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code !== "unrecognized_keys") return undefined;
      return issue.keys.map((key) => unknownKey(key, Object.keys(shape))).join("\n");
    },
  });
}

function unknownKey(key: string, known: string[]): string {
  const [nearest] = nearestNames(key.slice(0, 64), known, 1);
  return nearest === undefined
    ? `unknown key. Known are ${known.join(", ")}`
    : `unknown key. Did you mean ${nearest}?`;
}

/** An absent section, or one with nothing under it in the YAML file, is an empty one. */
const section = <T extends z.ZodType>(schema: T) => z.preprocess((value) => value ?? {}, schema);
/** As `section`, for lists. */
const list = <T extends z.ZodType>(item: T) => z.preprocess((value) => value ?? [], z.array(item));

const SizeText = z
  .union([z.string(), z.number()], { error: "must be a size such as 50GiB" })
  .transform(String)
  .refine((text) => (parseBytes(text) ?? 0) > 0, {
    error: ({ input }) =>
      `${quote(String(input))} is no size. Write a whole number above 0 with a unit: 512MiB, 50GiB, 1TiB`,
  });

/** A size such as `50GiB`, parsed to bytes. */
const Size = SizeText.transform((text) => parseBytes(text) ?? 0);

const MILLISECONDS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** A time span: seconds as a number, or `500ms`, `60s`, `5m`, `1h`; parsed to milliseconds. */
const Duration = z
  .union([z.string(), z.number()], { error: "must be a time such as 60s" })
  .transform((value, context) => {
    const match = /^(\d{1,9})(ms|s|m|h)?$/.exec(String(value));
    const ms = match ? Number(match[1]) * (MILLISECONDS[match[2] ?? "s"] ?? 0) : 0;
    if (ms > 0 && ms <= 24 * 3_600_000) return ms;
    context.addIssue({
      code: "custom",
      message: `${quote(String(value))} is no time between 1ms and 24h. Write 500ms, 60s, 5m, or a number of seconds`,
    });
    return z.NEVER;
  });

/** A value of an Incus map; YAML's bare numbers and booleans are taken as their text. */
const Scalar = z
  .union([z.string(), z.number(), z.boolean()], { error: "must be a text, a number or true or false" })
  .transform(String);
const ScalarMap = section(z.record(z.string(), Scalar));

const CpuLimit = z
  .union([z.string(), z.number()], { error: "must be a number of cores, or core numbers such as 0-3" })
  .transform(String)
  .refine((text) => /^([1-9]\d{0,3}|\d{1,4}([-,]\d{1,4})+)$/.test(text), {
    error: "must be a number of cores above 0, or core numbers such as 0-3 or 0,2",
  });

const AbsolutePath = z
  .string()
  .max(4_096, "must have at most 4096 characters")
  .refine((path) => path.startsWith("/") && !path.split("/").includes("..") && !hasControl(path), {
    error: "must be an absolute path without .. or control characters",
  });

function hasControl(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the purpose.
  return /[\u0000-\u001f\u007f]/.test(text);
}

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
  cow: z.boolean({ error: "must be true or false" }).optional(),
});

function aliasError(issue: { input?: unknown }): string {
  const parsed = ImageAliasName.safeParse(issue.input);
  return parsed.error?.issues[0]?.message ?? "must be an image alias, or * for every image of the host";
}

const ImageObject = strict({
  /** `*` is every image that the host has under an alias. */
  alias: z.union([z.literal("*"), ImageAliasName], { error: aliasError }),
  file: z.string().min(1).max(4_096).optional(),
  metadata: z.string().min(1).max(4_096).optional(),
  rootfs: z.string().min(1).max(4_096).optional(),
  url: z.string().max(4_096).optional(),
  sha256: z.string().optional(),
});

const IMAGE_FORMS =
  "an image has one of: file; metadata and rootfs; url and sha256; none of them where the host has it already";

const Image = z
  .preprocess((value) => (typeof value === "string" ? { alias: value } : value), ImageObject)
  .transform(
    ({ alias, file, metadata, rootfs, url, sha256 }, context): { alias: string; source?: ImageSource } => {
      const issue = (message: string, path: string[] = []): never => {
        context.addIssue({ code: "custom", message, path });
        return z.NEVER;
      };
      const given = [file, metadata ?? rootfs, url].filter((one) => one !== undefined).length;
      if (given > 1 || (given === 0 && sha256 !== undefined)) return issue(IMAGE_FORMS);
      if (given === 0) return { alias };
      if (alias === "*")
        return issue("stands for the images that the host has, so it takes no file or url", ["alias"]);
      if (sha256 !== undefined && !/^[0-9a-fA-F]{64}$/.test(sha256)) return issue(SHA256, ["sha256"]);
      const sum = sha256?.toLowerCase();
      if (file !== undefined)
        return { alias, source: { file, ...(sum === undefined ? {} : { sha256: sum }) } };
      if (url !== undefined) {
        if (!isHttps(url)) return issue("must be an https:// URL", ["url"]);
        return sum === undefined ? issue(SHA256, ["sha256"]) : { alias, source: { url, sha256: sum } };
      }
      if (metadata === undefined || rootfs === undefined || sum !== undefined) return issue(IMAGE_FORMS);
      return { alias, source: { metadata, rootfs } };
    },
  );

const SHA256 = "must be the file's SHA-256, 64 hex digits (sha256sum FILE)";

function isHttps(text: string): boolean {
  return /^https:\/\//.test(text) && URL.canParse(text) && !/\s/.test(text);
}

const Command = z.array(z.string().min(1)).min(1, "must name a command, each argument an entry of the list");

/** When a new agent counts as ready: it has an IPv4 address, a command succeeds in it, or at once. Timeout in ms. */
export type Ready = "network" | "none" | { command: string[]; timeout: number };

const ReadyCommand = strict({ command: Command, timeout: Duration.default(120_000) });

const ReadyWhen = z.unknown().transform((value, context): Ready => {
  if (value === "network" || value === "none") return value;
  if (typeof value !== "object" || value === null) {
    context.addIssue({ code: "custom", message: "must be network, none or {command: […]}" });
    return z.NEVER;
  }
  const parsed = ReadyCommand.safeParse(value);
  if (parsed.success) return parsed.data;
  for (const { path, message, ...issue } of parsed.error.issues) {
    const key = issue.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : [];
    context.addIssue({ code: "custom", path: [...path, ...key], message: message.split("\n")[0] ?? message });
  }
  return z.NEVER;
});

const Id = z.int("must be a whole number").min(0, "must not be negative").max(4_294_967_294, "is no user id");

const MODE = 'must be octal in quotes, such as "0600"; Incus sets no bits beyond 0777';

const FileEntry = strict({
  path: AbsolutePath,
  /** The file's text. A secret whatever the config says. */
  content: z.string().optional(),
  /** A file on the machine that runs Pulumi, instead of `content`. */
  source: z.string().min(1).max(4_096).optional(),
  uid: Id.default(0),
  gid: Id.default(0),
  /** Octal. A bare number is refused: 0644 is 420 to some readers of YAML, and 644 is neither. @default "0644" */
  mode: z
    .string({ error: MODE })
    .refine((mode) => /^0?[0-7]{3}$/.test(mode), {
      error: MODE,
    })
    .transform((mode) => mode.padStart(4, "0"))
    .default("0644"),
}).refine((file) => (file.content === undefined) !== (file.source === undefined), {
  error: "must have either content or source",
});

const Project = ObjectName;

/** How a container is moved, where optIn.migrate names it: an existing one or an agent. */
const Moving = {
  /** Pool to migrate to. @default the host's copy-on-write pool */
  pool: PoolName.optional(),
  /** Command that must succeed in the container after a migration. */
  health: Command.optional(),
  /** Ms to wait for a graceful stop. @default 60s */
  stopTimeout: Duration.default(60_000),
};

const Container = section(
  strict({
    /** @default true */
    protected: z.boolean().default(true),
    /** @default the host's project */
    project: Project.optional(),
    ...Moving,
  }),
);

const Agent = strict({
  /** Alias of the image. */
  image: ImageAliasName,
  /** Size as Incus takes it, for example `2GiB`. */
  memory: SizeText.optional(),
  cpu: CpuLimit.optional(),
  /** Size of the root disk as Incus takes it, for example `40GiB`. */
  disk: SizeText.optional(),
  /** User id of the host that is root in the agent (`raw.idmap: both <uid> 0`). */
  idmapUid: Id.min(1, "must not be root of the host").optional(),
  /** Environment variables; values are secrets. */
  environment: ScalarMap,
  /** Any further Incus config key. */
  config: ScalarMap,
  /** Any further Incus devices. */
  devices: section(z.record(ObjectName, z.record(z.string(), Scalar))),
  files: list(FileEntry),
  /** @default network */
  ready: ReadyWhen.default("network"),
  ...Moving,
  /** @default [default] */
  profiles: z.array(ObjectName).default(["default"]),
  /** @default true */
  protected: z.boolean().default(true),
  /** @default the host's project */
  project: Project.optional(),
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

/** One host as written, defaults applied. `config.ts` adds the name and settles projects and images. */
export const HostSchema = section(
  strict({
    connection: HostConnection.shape.connection.default("unix"),
    tls: HostConnection.shape.tls,
    project: Project.default("default"),
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
    migrateParallel: z
      .int("must be a whole number")
      .min(1, "must be at least 1")
      .max(16, "must be at most 16")
      .default(1),
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

/** Container and agent names: Incus' own rule. */
export const ContainerName = InstanceName;
