import { z } from "zod";
import { ImageAliasName, ObjectName, PoolName } from "../common/names.ts";
import { CommonArgs } from "../pulumi/lifecycle.ts";

const Sha256 = z.string().regex(/^[0-9a-fA-F]{64}$/, "must be a SHA-256 in hex, 64 digits");

/** Where the image comes from when the host does not have it. Relative paths: from the program's entry directory. */
export const ImageSource = z.union([
  z.strictObject({ file: z.string().min(1), sha256: Sha256.optional() }),
  z.strictObject({ metadata: z.string().min(1), rootfs: z.string().min(1) }),
  z.strictObject({ url: z.url({ protocol: /^https$/, error: "must be an https URL" }), sha256: Sha256 }),
]);
export type ImageSource = z.infer<typeof ImageSource>;

/**
 * An image is on the host under this alias and unpacked in the pool, so that instances are snapshots of it from the
 * first one on. Warmth is keyed by fingerprint: when the alias moves, the new image is warmed.
 *
 * @example
 * new WarmImage("orange-1/taos-base", { host, owner, alias: "taos-base", pool: "default" });
 * @example
 * new WarmImage("orange-1/taos-base", { host, owner, alias: "taos-base", pool: "default",
 *   source: { url: "https://example.org/taos-base.tar.gz", sha256: "…" } });
 */
export const WarmImageArgs = CommonArgs.extend({
  /** `*` is every image that the host has under an alias and containers of it can be made from. */
  alias: z.union([z.literal("*"), ImageAliasName]),
  project: ObjectName.default("default"),
  pool: PoolName,
  /** Unset: the image must be on the host already. */
  source: ImageSource.optional(),
});
export type WarmImageArgs = z.infer<typeof WarmImageArgs>;
