import { isPreconditionFailed, VisibleError } from "../common/errors.ts";
import type { IncusClient } from "../incus/client.ts";
import { findInstance, putInstance } from "../incus/instances.ts";
import { rootDisk } from "../incus/root-disk.ts";
import type { Instance as LiveInstance } from "../incus/schemas.ts";
import { changedFields } from "../pulumi/drift.ts";
import { type InstanceArgs, wantedConfig, wantedDevices } from "./config.ts";
import { checkQuota } from "./quota.ts";
import { liveRootName, rootNameFor } from "./root.ts";

const UPDATE_DEADLINE = 120_000;

/** Writes the difference between what was wanted, what is wanted and what is there; other keys and devices stay. */
export async function syncInstance(
  client: IncusClient,
  before: InstanceArgs,
  args: InstanceArgs,
): Promise<LiveInstance> {
  for (let attempt = 1; ; attempt++) {
    const found = await findInstance(client, args);
    if (!found)
      throw new VisibleError(
        `Instance "${args.name}" is gone. Run up again: the refresh notices, and it is made anew.`,
      );
    const { value: live, etag } = found;
    const pool = rootDisk(live.expanded_devices)?.pool ?? args.pool;
    const config = without(live.config, Object.keys(wantedConfig(before)));
    const was = liveRootName(live);
    const name = await rootNameFor(client, args);
    const devices = without(live.devices, Object.keys(wantedDevices(before, pool, was)));
    const wanted = wantedDevices(args, pool, name);
    const root = { ...live.devices[was], ...wanted[name] };
    if (args.disk === undefined && before.disk !== undefined) delete root["size"];
    const next = {
      ...live,
      description: args.description,
      profiles: args.profiles,
      config: withoutEmpty({ ...config, ...wantedConfig(args) }),
      devices: mapValues({ ...devices, ...wanted, [name]: root }, withoutEmpty),
    };
    const fields = ["description", "profiles", "config", "devices"] as const;
    if (
      changedFields(live, next).filter((field) => (fields as readonly string[]).includes(field)).length === 0
    )
      return live;
    const current = live.devices[was]?.["size"];
    await checkQuota(client, args, { name: was, pool, wanted: root["size"], current });
    try {
      await putInstance(client, args, next, etag, { deadline: UPDATE_DEADLINE });
      return next;
    } catch (error) {
      if (!isPreconditionFailed(error) || attempt === 5) throw error;
    }
  }
}

/** Incus keeps no key without a value; an empty one unsets it. */
function withoutEmpty(config: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== ""));
}

function mapValues<T>(record: Record<string, T>, change: (value: T) => T): Record<string, T> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));
}

function without<T>(record: Record<string, T>, keys: readonly string[]): Record<string, T> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => !keys.includes(key)));
}
