import { VisibleError } from "./common/errors.ts";
import { warmImage } from "./image/warm-image.ts";
import { instance } from "./instance/instance.ts";
import { network } from "./network/network.ts";
import { instancePlacement } from "./placement/instance-placement.ts";
import { storagePool } from "./pool/storage-pool.ts";
import { profileDevices } from "./profile/profile-devices.ts";
import type { DynamicProvider } from "./pulumi/provider.ts";
import type { Kind } from "./pulumi/shim.ts";

export { formatBytes, parseBytes } from "./common/bytes.ts";
export * from "./common/errors.ts";
export { liveUntil } from "./common/lifetime.ts";
export { listed } from "./common/listed.ts";
export {
  cowName,
  ImageAliasName,
  InstanceName,
  nearestNames,
  ObjectName,
  PoolName,
  WORKER_POOL,
} from "./common/names.ts";
export type { Problem } from "./common/problem.ts";
export { withSlot } from "./common/slots.ts";
export type { BtrfsHealth } from "./host/btrfs-health.ts";
export { hostFingerprint } from "./host/fingerprint.ts";
export { mountsRefusal } from "./host/foreign-mounts.ts";
export { type HealthLook, lookAtHealth } from "./host/health.ts";
export type { HostLook, PoolLook, ProfileLook } from "./host/look.ts";
export { type LookOptions, lookAtHost } from "./host/look-at-host.ts";
export type { DeviceLook, InstanceLook } from "./host/look-instance.ts";
export type { ParkedHealth } from "./host/parked-health.ts";
export type { PoolHealth } from "./host/pool-health.ts";
export { type PoolSizes, realSize } from "./host/pool-sizes.ts";
export {
  lookAtPreparation,
  type PreparationLook,
  type PrepareWish,
  prepareHost,
} from "./host/preparation.ts";
export { keptSourceOf } from "./host/written.ts";
export { downloadImage } from "./image/download.ts";
export { ImageSource } from "./image/image-args.ts";
export { checkImageFiles } from "./image/import.ts";
export { registerByToken } from "./incus/admission.ts";
export { clientFor, type IncusClient } from "./incus/client.ts";
export { HostConnection } from "./incus/connection.ts";
export { aliasedImages, aliasesOf, imageNamed, imageStore } from "./incus/image-store.ts";
export { projectOf } from "./incus/remotes.ts";
export { givenRoots, ownRootName, qualifiedName } from "./incus/root-disk.ts";
export { parseTrustToken } from "./incus/trust-token.ts";
export { agentChanges } from "./instance/changes.ts";
export type { InstanceSettings } from "./instance/config.ts";
export type { InstanceFile } from "./instance/files.ts";
export { quotaRefusal } from "./instance/quota.ts";
export { isSuccessor, migrationMarkOf, parkedMarkOf } from "./marks/identity.ts";
export { readJournal } from "./marks/journal.ts";
export { IMAGE_KEY, OWNER_KEY, PROTECTED_KEY, STAGE_KEY } from "./marks/keys.ts";
export { undoneName } from "./marks/made-names.ts";
export { isOfSameStack, type Ownership, ownerMark, ownershipOf } from "./marks/ownership.ts";
export { parkedRecordOf } from "./marks/parked-record.ts";
export { spaceNeeded } from "./migration/copy/space.ts";
export { migrationProblem, startProblem } from "./migration/problems.ts";
export { networkUsers } from "./network/network.ts";
export { type MarkChange, markedObjects, renamed, renameMark } from "./owner-rename.ts";
export { poolContents, poolHolds } from "./pool/contents.ts";
export { decidePool, type PoolDecision, reasonOf } from "./pool/decision.ts";
export { isCopyOnWrite } from "./pool/drivers.ts";
export { poolFactsOf, poolWorldOf } from "./pool/facts.ts";
export { LEAST_LOOP_SIZE } from "./pool/loop-size.ts";
export { type PoolWish, type PoolWorld, settleWish } from "./pool/wish.ts";
export { profileNeeds } from "./profile/needs.ts";
export { creationRefusal } from "./project/limits.ts";
export { progressFor } from "./pulumi/progress.ts";

const RESOURCES: Record<Kind, { readonly provider: DynamicProvider }> = {
  Instance: instance,
  InstancePlacement: instancePlacement,
  Network: network,
  ProfileDevices: profileDevices,
  StoragePool: storagePool,
  WarmImage: warmImage,
};

/** The implementation of a kind of resource; what Pulumi keeps in state calls this by name (see shim.ts). */
export function get(kind: Kind): DynamicProvider {
  if (!Object.hasOwn(RESOURCES, kind))
    throw new VisibleError(`This taos-hosts knows no resource kind "${kind}". Use the version that made it.`);
  return RESOURCES[kind].provider;
}
