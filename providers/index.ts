import { VisibleError } from "./errors.ts";
import { instanceProvider } from "./instance.ts";
import { instancePlacementProvider } from "./instance-placement.ts";
import { networkProvider } from "./network.ts";
import { profileDevicesProvider } from "./profile-devices.ts";
import type { DynamicProvider } from "./resource.ts";
import type { Kind } from "./shim.ts";
import { storagePoolProvider } from "./storage-pool.ts";
import { warmImageProvider } from "./warm-image.ts";

export { formatBytes, parseBytes } from "./bytes.ts";
export { missingSourcesRefusal } from "./device-sources.ts";
export * from "./errors.ts";
export { mountsRefusal } from "./foreign-mounts.ts";
export { type HostLook, type LookOptions, lookAtHost, type PoolLook, type ProfileLook } from "./host-look.ts";
export type { DeviceLook, InstanceLook } from "./host-look-instance.ts";
export { keptSourceOf } from "./host-written.ts";
export { downloadImage } from "./image-download.ts";
export { clientFor, type IncusClient } from "./incus/client.ts";
export { HostConnection } from "./incus/connection.ts";
export { Instance } from "./instance.ts";
export {
  IMAGE_KEY,
  type InstanceFile,
  type InstanceSettings,
  PROTECTED_KEY,
  STAGE_KEY,
} from "./instance-config.ts";
export { InstancePlacement } from "./instance-placement.ts";
export { quotaRefusal } from "./instance-quota.ts";
export { isSuccessor, migrationMarkOf, parkedMarkOf } from "./migration/identity.ts";
export { undoneName } from "./migration/names.ts";
export { ImageAliasName, InstanceName, nearestNames, ObjectName, PoolName } from "./names.ts";
export { Network, networkUsers } from "./network.ts";
export { startRefusal } from "./nic-conflicts.ts";
export { type MarkChange, markedObjects, renamed, renameMark } from "./owner-rename.ts";
export { isOfSameStack, OWNER_KEY, type Ownership, ownerMark, ownershipOf } from "./ownership.ts";
export { type PoolWorld, type SettledWish, settleWish } from "./pool-choice.ts";
export * from "./pool-decision.ts";
export { poolContents, poolFactsOf, poolHolds, poolWorldOf } from "./pool-facts.ts";
export { type PoolSizes, realSize } from "./pool-sizes.ts";
export { ProfileDevices } from "./profile-devices.ts";
export { profileNeeds } from "./profile-needs.ts";
export { progressFor } from "./progress.ts";
export { creationRefusal, migrationRefusal } from "./project-limits.ts";
export { givenRoots, ownRootName, qualifiedName } from "./root-disk.ts";
export { StoragePool } from "./storage-pool.ts";
export { checkImageFiles, type ImageSource, WarmImage } from "./warm-image.ts";

const PROVIDERS: Record<Kind, DynamicProvider> = {
  Instance: instanceProvider,
  InstancePlacement: instancePlacementProvider,
  Network: networkProvider,
  ProfileDevices: profileDevicesProvider,
  StoragePool: storagePoolProvider,
  WarmImage: warmImageProvider,
};

/** The implementation of a kind of resource; what Pulumi keeps in state calls this by name (see shim.ts). */
export function get(kind: Kind): DynamicProvider {
  const provider = Object.hasOwn(PROVIDERS, kind) ? PROVIDERS[kind] : undefined;
  if (!provider)
    throw new VisibleError(`This taos-hosts knows no resource kind "${kind}". Use the version that made it.`);
  return provider;
}
