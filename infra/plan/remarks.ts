import { type HostLook, isCopyOnWrite, WORKER_POOL } from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";
import type { EffectivePool } from "./effective-pool.ts";
import { findPool } from "./scene.ts";

/** What taOS' other parts make of the pool (they look at pool `default`, and at sources that are directories). */
export function compatibilityRemarks(
  host: HostConfig,
  look: HostLook,
  effective: EffectivePool | undefined,
): string[] {
  const remarks: string[] = [];
  if (effective && isCopyOnWrite(effective.driver) && effective.name !== "default") {
    remarks.push(
      `pool ${effective.name} is not named default: taOS' banner and its snapper snapshots of containers (Layer 3) will not see it`,
    );
  } else if (effective?.driver === "btrfs" && !isDirectorySource(host, look, effective.name)) {
    remarks.push(
      `pool ${effective.name} is no directory of a btrfs: taOS' snapper snapshots of containers (Layer 3) skip it; source: /path on btrfs is seen`,
    );
  }
  if (findPool(look, WORKER_POOL))
    remarks.push(`pool ${WORKER_POOL} is the taOS worker's and is never touched`);
  if (look.reach !== undefined) remarks.push(`reached ${look.reach}`);
  if (!look.filesReadable) {
    remarks.push(
      "this connection does not reach the host's files: sizes of containers on dir pools are unknown",
    );
  }
  return remarks;
}

function isDirectorySource(host: HostConfig, look: HostLook, name: string): boolean {
  const source = findPool(look, name)?.source ?? host.pool.source;
  return source.startsWith("/") && !source.startsWith("/dev/") && !source.endsWith(".img");
}
