import { nearestNames } from "@taos-hosts/providers";
import { z } from "zod";

/** A strict object whose error for each unknown key names the nearest known one; one line per key (see config.ts). */
export function strict<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
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
export const section = <T extends z.ZodType>(schema: T) => z.preprocess((value) => value ?? {}, schema);

/** As `section`, for lists. */
export const list = <T extends z.ZodType>(item: T) => z.preprocess((value) => value ?? [], z.array(item));
