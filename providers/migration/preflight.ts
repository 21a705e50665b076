import { VisibleError } from "../common/errors.ts";
import type { Problem } from "../common/problem.ts";
import { refuseForeignMounts } from "../host/foreign-mounts.ts";
import type { HostLook } from "../host/look.ts";
import { lookAtHost } from "../host/look-at-host.ts";
import type { InstanceLook } from "../host/look-instance.ts";
import { listSnapshots } from "../incus/instances.ts";
import { rootPool } from "../incus/root-device.ts";
import type { Instance } from "../incus/schemas.ts";
import { baseImage } from "./copy/clone.ts";
import { ensureSpace } from "./copy/space.ts";
import { countFlagged, hasNestedSubvolumes, type Volume, volumeOf } from "./copy/volume.ts";
import { type Move, refOf } from "./move.ts";
import { migrationProblem } from "./problems.ts";
import { requireTools } from "./tools.ts";

/** Milliseconds to look at the host. */
const LOOK_DEADLINE = 60_000;
/** Milliseconds to measure a container. */
const MEASURE_DEADLINE = 600_000;

/** Looks whether the move can be done without losing anything. Writes nothing. @throws VisibleError with the way out */
export async function preflight(move: Move, instance: Instance): Promise<void> {
  const { client, files, request } = move;
  const from = rootPool(instance);
  const ref = refOf(move, instance.name);
  const refuse = (reason: string): never => {
    throw new VisibleError(`Refusing to migrate "${instance.name}": ${reason}`);
  };
  const refuseFor = (problem: Problem | undefined): void => {
    if (problem) refuse(`${problem.reason}. ${problem.remedy}`);
  };
  await requireTools(files);
  const { look, seen } = await lookAround(move, instance);
  if (!seen) return refuse("it vanished while it was looked at. Run again.");
  const driverOf = (pool: string): string | undefined => look.pools.find(({ name }) => name === pool)?.driver;
  const target = { name: request.target, driver: driverOf(request.target) };
  const circumstances = { target, removesParked: false };
  refuseFor(migrationProblem(look, { ...seen, bytes: null }, circumstances));
  await refuseForeignMounts(files, [{ pool: from, ref }], `migrate "${instance.name}"`);
  const root = volumeOf(from, ref);
  if (!(await files.exists(...root, "rootfs")))
    refuse(`its files are not at ${files.daemonPath(...root)}. Is pool "${from}" mounted?`);
  const named = await listSnapshots(client, ref);
  const snapshots = named.map(({ name }) => volumeOf(from, ref, name));
  for (const volume of [root, ...snapshots]) {
    const loss = await lossOf(move, volume, driverOf(from));
    if (loss !== undefined) refuse(loss);
  }
  const [bytes = null] = await measure(move, [root]);
  if (bytes === null) return refuse("its size could not be measured in time. Run again.");
  refuseFor(migrationProblem(look, { ...seen, bytes }, circumstances));
  // A first guess; the exact figure is taken from the clone before anything large is copied.
  const isCloned = (await baseImage(move, instance, target.name)) !== undefined;
  const sizes = target.driver === "btrfs" ? [] : await measure(move, snapshots);
  const guess = sizes.reduce<number>((sum, size) => sum + (size ?? bytes), isCloned ? 0 : bytes);
  await ensureSpace(client, files, request.target, guess);
}

/** The host at this moment, and the instance on it; undefined where it has vanished. Writes nothing. */
export async function lookAround(
  { client, signal }: Move,
  { name, project }: Pick<Instance, "name" | "project">,
): Promise<{ look: HostLook; seen: InstanceLook | undefined }> {
  const look = await lookAtHost(client, { deadline: LOOK_DEADLINE, sizes: false, signal });
  return { look, seen: look.instances.find((one) => one.name === name && one.project === project) };
}

/** What of a volume a copy would not keep, and the way out. */
async function lossOf(
  { files, signal }: Move,
  volume: Volume,
  driver: string | undefined,
): Promise<string | undefined> {
  const flagged = await countFlagged(files, volume, signal);
  if (flagged > 0)
    return `${flagged} of its files are immutable or append-only, which a copy does not keep. Find them with lsattr -R, lift the flag with chattr -ia, then run again.`;
  if (driver === "btrfs" && (await hasNestedSubvolumes(files, volume, signal)))
    return "btrfs subvolumes are nested in its root, which a copy does not keep. Turn them into directories, then run again.";
  return undefined;
}

/** Bytes of each volume; null where it could not be measured in time. */
async function measure({ files }: Move, volumes: readonly Volume[]): Promise<(number | null)[]> {
  const paths = volumes.map((volume) => files.daemonPath(...volume));
  const sizes = await files.measure(paths, MEASURE_DEADLINE);
  return paths.map((path) => sizes.get(path) ?? null);
}
