import { z } from "zod";
import { PoolName } from "../common/names.ts";
import { CommonArgs, type CommonState } from "../pulumi/lifecycle.ts";
import { LEAST_LOOP_SIZE } from "./loop-size.ts";

/**
 * A storage pool of this name, driver and source with at least this size exists. Creates it, adopts a fitting one,
 * grows it, recreates an empty `dir` pool under the same name. A pool with anything on it is never deleted.
 *
 * @example
 * new StoragePool("orange-1/default", { host, owner, name: "default" });
 * @example
 * new StoragePool("orange-1/default", { host, owner, name: "default", driver: "btrfs", source: "/dev/nvme0n1p3" });
 */
export const StoragePoolArgs = CommonArgs.extend({
  name: PoolName,
  /** @default "auto": btrfs wherever the host can, zfs only where it cannot and zfs is there */
  driver: z.enum(["auto", "btrfs", "zfs", "dir"]).default("auto"),
  /** `loop`, a block device `/dev/…`, or a path on btrfs outside Incus' directory. @default "loop" */
  source: z
    .string()
    .regex(/^(loop|\/[^\0]+)$/, "must be loop, a block device or an absolute path")
    .refine((path) => !/^\/var\/lib\/incus(\/|$)/.test(path), "must not be inside /var/lib/incus")
    .default("loop"),
  /** Bytes. @default 50 GiB, or 60 % of what is free on the host if that is less */
  size: z.number().int().min(LEAST_LOOP_SIZE, "must be at least 5 GiB").optional(),
  description: z.string().optional(),
  /** Use this pool itself where it is copy-on-write already; set on the second pool of a migration. */
  insteadOf: PoolName.optional(),
  /**
   * The config names no pool: where the default profile's root disk is on another pool than `name`, that one serves,
   * used or left as it is; with `insteadOf`, the second pool is that one's. @default false
   */
  isUnnamed: z.boolean().default(false),
});
export type StoragePoolArgs = z.infer<typeof StoragePoolArgs>;

/** What Pulumi keeps of a pool. */
export interface StoragePoolState extends StoragePoolArgs, CommonState {
  /** Name of the pool that serves. */
  pool: string;
  effectiveDriver: string;
  /** True where the pool was there before: then it is never deleted. */
  adopted: boolean;
  /** True for a `dir` pool with content: nothing is written to this host beyond what an opt-in names. */
  left: boolean;
  drift: string[];
  /** What a run would do by these args; the plan's word counts for more, since args may have changed since. */
  due?: string[];
}
