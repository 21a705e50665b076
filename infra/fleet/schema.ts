import { z } from "zod";
import { HostName } from "../config/schema.ts";
import { list, section, strict } from "../config/sections.ts";
import { Command, Duration } from "../config/values.ts";

const Text = z.string({ error: "must be a text" }).trim().min(1, "must say something").max(500);

const Tag = z
  .string({ error: "must be a text" })
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "must be letters, digits and . _ -");

const SELECTORS = ["hosts", "tag", "count", "percent"] as const;

const Wave = strict({
  /** Hosts by name: the canary. */
  hosts: z.array(HostName).min(1, "must name a host").optional(),
  /** Hosts with this tag. */
  tag: Tag.optional(),
  /** So many hosts, in the order of the file. */
  count: z.int("must be a whole number").min(1, "must be at least 1").optional(),
  /** So many of a hundred of the fleet's hosts, rounded up, in the order of the file. */
  percent: z
    .union([z.number(), z.string()])
    .transform((value) => Number(/^(\d{1,3})%?$/.exec(String(value))?.[1]))
    .refine((value) => value >= 1 && value <= 100, "must be a whole number from 1 to 100")
    .optional(),
  /** How many hosts may fail before no other one is begun. @default 0 */
  maxFailed: z.int("must be a whole number").min(0, "must not be negative").default(0),
  /** What counts as failed besides `failed`. @default [] */
  countsAsFailed: list(z.enum(["unreachable", "refused"], "must be unreachable or refused")),
  /** Time to let pass after its last host, before the next wave; ms. */
  wait: Duration.optional(),
  /** Command that must succeed before the next wave, run where the roll-out runs. */
  health: Command.optional(),
  /** Ms for `health`. @default 5m */
  healthTimeout: Duration.default(300_000),
}).refine((wave) => SELECTORS.filter((key) => wave[key] !== undefined).length === 1, {
  error: `must have one of ${SELECTORS.join(", ")}`,
});
export type Wave = z.output<typeof Wave>;

/** What a host's entry has besides the host's config. */
export const HostEntry = z.looseObject({
  tags: list(Tag),
  /** Why no run writes to it. */
  paused: Text.optional(),
});

/** A fleet file: `defaults` and the rest of each host's entry are checked as a host of a stack config, once merged. */
export const FleetSchema = strict({
  defaults: section(z.record(z.string(), z.unknown())),
  hosts: z
    .record(z.string(), section(HostEntry))
    .refine((hosts) => Object.keys(hosts).length > 0, "must have at least one host"),
  waves: list(Wave),
  /** Why no run writes to any host. */
  paused: Text.optional(),
  /** Of the passphrase that the file's encrypted values were encrypted with. */
  encryptionsalt: z.string().min(1).optional(),
});
