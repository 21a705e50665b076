import { ImageAliasName, ObjectName, PoolName } from "@taos-hosts/providers";
import { z } from "zod";
import { list, section, strict } from "./sections.ts";
import {
  AbsolutePath,
  Command,
  CpuLimit,
  Duration,
  Id,
  LocalFile,
  Scalar,
  ScalarMap,
  SizeText,
} from "./values.ts";

/** What an existing container and an agent have in common. */
const Common = {
  /** @default the host's project */
  project: ObjectName.optional(),
  /** @default true */
  protected: z.boolean().default(true),
  /** Pool to migrate to, where optIn.migrate names it. @default the host's copy-on-write pool */
  pool: PoolName.optional(),
  /** Command that must succeed in the container after a migration. */
  health: Command.optional(),
  /** Ms to wait for a graceful stop. @default 60s */
  stopTimeout: Duration.default(60_000),
};

/** A container that was there before. */
export const Container = section(strict(Common));

/** When a new agent counts as ready: it has an IPv4 address, a command succeeds in it, or at once. Timeout in ms. */
type Ready = "network" | "none" | { command: string[]; timeout: number };

const ReadyCommand = strict({ command: Command, timeout: Duration.default(120_000) });

const ReadyWhen = z.unknown().transform((value, context): Ready => {
  if (value === "network" || value === "none") return value;
  const parsed = ReadyCommand.safeParse(value);
  if (parsed.success) return parsed.data;
  if (typeof value !== "object" || value === null)
    context.addIssue({ code: "custom", message: "must be network, none or {command: […]}" });
  else context.issues.push(...parsed.error.issues.map((issue) => ({ ...issue, input: undefined })));
  return z.NEVER;
});

const MODE = 'must be octal in quotes, such as "0600"; Incus sets no bits beyond 0777';

const FileEntry = strict({
  path: AbsolutePath,
  /** The file's text. A secret whatever the config says. */
  content: z.string().optional(),
  /** Instead of `content`. */
  source: LocalFile.optional(),
  uid: Id.default(0),
  gid: Id.default(0),
  /** Octal. A bare number is refused: 0644 is 420 to some readers of YAML, and 644 is neither. @default "0644" */
  mode: z
    .string({ error: MODE })
    .regex(/^0?[0-7]{3}$/, MODE)
    .transform((mode) => mode.padStart(4, "0"))
    .default("0644"),
}).refine((file) => (file.content === undefined) !== (file.source === undefined), {
  error: "must have either content or source",
});

/** A container that this stack creates. */
export const Agent = strict({
  /** Alias of the image. */
  image: ImageAliasName,
  memory: SizeText.optional(),
  cpu: CpuLimit.optional(),
  /** Size of the root disk. */
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
  /** @default [default] */
  profiles: z.array(ObjectName).default(["default"]),
  ...Common,
});
