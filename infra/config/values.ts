import { parseBytes } from "@taos-hosts/providers";
import { z } from "zod";
import { section } from "./sections.ts";
import { quote } from "./text.ts";

/** A size as Incus takes it, such as `50GiB`. */
export const SizeText = z
  .union([z.string(), z.number()], { error: "must be a size such as 50GiB" })
  .transform(String)
  .refine((text) => (parseBytes(text) ?? 0) > 0, {
    error: ({ input }) =>
      `${quote(String(input))} is no size. Write a whole number above 0 with a unit: 512MiB, 50GiB, 1TiB`,
  });

/** A size, parsed to bytes. */
export const Size = SizeText.transform((text) => parseBytes(text) ?? 0);

const MILLISECONDS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** A time span: seconds as a number, or `500ms`, `60s`, `5m`, `1h`; parsed to milliseconds. */
export const Duration = z
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
export const Scalar = z
  .union([z.string(), z.number(), z.boolean()], { error: "must be a text, a number or true or false" })
  .transform(String);
export const ScalarMap = section(z.record(z.string(), Scalar));

/** A number of cores, or a set of them such as `0-3`. */
export const CpuLimit = z
  .union([z.string(), z.number()], { error: "must be a number of cores, or core numbers such as 0-3" })
  .transform(String)
  .refine((text) => /^([1-9]\d{0,3}|\d{1,4}([-,]\d{1,4})+)$/.test(text), {
    error: "must be a number of cores above 0, or core numbers such as 0-3 or 0,2",
  });

// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the purpose.
const CONTROL = /[\u0000-\u001f\u007f]/;

/** A path in a container or on a host. */
export const AbsolutePath = z
  .string()
  .max(4_096, "must have at most 4096 characters")
  .refine((path) => path.startsWith("/") && !path.split("/").includes("..") && !CONTROL.test(path), {
    error: "must be an absolute path without .. or control characters",
  });

/** A file on the machine that runs Pulumi; `checkFiles` looks whether it is there. */
export const LocalFile = z.string().min(1).max(4_096);

/** A user or group id. */
export const Id = z.int().min(0, "must not be negative").max(4_294_967_294, "is no user id");

export const Command = z
  .array(z.string().min(1))
  .min(1, "must name a command, each argument an entry of the list");
