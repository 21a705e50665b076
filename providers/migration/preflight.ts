import { VisibleError } from "../common/errors.ts";
import type { Problem } from "../common/problem.ts";
import { refuseForeignMounts } from "../host/foreign-mounts.ts";
import type { HostLook } from "../host/look.ts";
import { lookAtHost } from "../host/look-at-host.ts";
import type { InstanceLook } from "../host/look-instance.ts";
import { findImage } from "../incus/images.ts";
import { getInstanceState, listSnapshots } from "../incus/instances.ts";
import { findPool } from "../incus/pools.ts";
import { rootPool } from "../incus/root-device.ts";
import type { Instance, Snapshot } from "../incus/schemas.ts";
import { type Identity, identityOf } from "../marks/identity.ts";
import { copyName, parkedName } from "../marks/made-names.ts";
import { ensureSpace } from "./copy/space.ts";
import { countFlagged, hasNestedSubvolumes, snapshotVolumeOf, volumeOf } from "./copy/volume.ts";
import { type Move, refOf } from "./move.ts";
import { migrationProblem } from "./problems.ts";
import { requireTools } from "./tools.ts";

/** Milliseconds to look at the host. */
const LOOK_DEADLINE = 60_000;
/** Milliseconds to measure a container. */
const MEASURE_DEADLINE = 600_000;

/** What the look before the first write found. */
export interface Preflight {
  instance: Instance;
  from: string;
  identity: Required<Identity>;
  copy: string;
  parked: string;
  snapshots: Snapshot[];
  /** Bytes that the root file system occupies. */
  rootBytes: number;
  addresses: string[];
}

/** Looks whether the move can be done without losing anything. Writes nothing. @throws VisibleError with the way out */
export async function preflight(move: Move, instance: Instance): Promise<Preflight> {
  const { request } = move;
  const refuse = (reason: string): never => {
    throw new VisibleError(`Refusing to migrate "${instance.name}": ${reason}`);
  };
  const refuseFor = (problem: Problem | undefined): void => {
    if (problem) refuse(`${problem.reason}. ${problem.remedy}`);
  };
  await requireTools(move.files);
  const { look, seen } = await lookAround(move, instance);
  if (!seen) return refuse("it vanished while it was looked at. Run again.");
  const pool = look.pools.find(({ name }) => name === request.target);
  const circumstances = {
    target: { name: request.target, driver: pool?.driver },
    removesParked: false,
  };
  refuseFor(migrationProblem(look, { ...seen, bytes: null }, circumstances));
  const from = rootPool(instance);
  const identity = identityOf(instance);
  const copy = copyName(instance.name, identity.uuid);
  const parked = parkedName(instance.name, identity.uuid);
  const sourceDriver = look.pools.find(({ name }) => name === from)?.driver ?? "";
  const snapshots = await listSnapshots(move.client, refOf(move, instance.name));
  const rootBytes = await inspectFiles(move, instance, { from, sourceDriver, snapshots }, refuse);
  refuseFor(migrationProblem(look, { ...seen, bytes: rootBytes }, circumstances));
  await ensureSpace(
    move.client,
    move.files,
    request.target,
    await expectedBytes(move, instance, snapshots, rootBytes, from),
  );
  const addresses = instance.status === "Running" ? await ipv4Addresses(move, instance) : [];
  return { instance, from, identity, copy, parked, snapshots, rootBytes, addresses };
}

/** The host at this moment, and the instance on it; undefined where it has vanished. Writes nothing. */
export async function lookAround(
  { client, signal }: Move,
  { name, project }: Pick<Instance, "name" | "project">,
): Promise<{ look: HostLook; seen: InstanceLook | undefined }> {
  const look = await lookAtHost(client, { deadline: LOOK_DEADLINE, sizes: false, signal });
  return { look, seen: look.instances.find((one) => one.name === name && one.project === project) };
}

type Refuse = (reason: string) => never;

async function inspectFiles(
  move: Move,
  instance: Instance,
  source: { from: string; sourceDriver: string; snapshots: readonly Snapshot[] },
  refuse: Refuse,
): Promise<number> {
  const { files, signal } = move;
  const ref = refOf(move, instance.name);
  await refuseForeignMounts(files, [{ pool: source.from, ref }], `migrate "${instance.name}"`);
  const volume = volumeOf(source.from, ref);
  if (!(await files.exists(...volume, "rootfs"))) {
    refuse(`its files are not at ${files.daemonPath(...volume)}. Is pool "${source.from}" mounted?`);
  }
  const volumes = [volume, ...source.snapshots.map(({ name }) => snapshotVolumeOf(source.from, ref, name))];
  for (const each of volumes) {
    const flagged = await countFlagged(files, each, signal);
    if (flagged > 0) {
      refuse(
        `${flagged} of its files are immutable or append-only, which a copy does not keep. Find them with lsattr -R, lift the flag with chattr -ia, then run again.`,
      );
    }
    if (source.sourceDriver === "btrfs" && (await hasNestedSubvolumes(files, each, signal))) {
      refuse(
        "btrfs subvolumes are nested in its root, which a copy does not keep. Turn them into directories, then run again.",
      );
    }
  }
  const path = files.daemonPath(...volume);
  const bytes = (await files.measure([path], MEASURE_DEADLINE)).get(path);
  return bytes ?? refuse("its size could not be measured in time. Run again.");
}

/** A first guess; the exact figure is taken from the clone before anything large is copied. */
async function expectedBytes(
  move: Move,
  instance: Instance,
  snapshots: readonly Snapshot[],
  rootBytes: number,
  from: string,
): Promise<number> {
  const fingerprint = instance.config["volatile.base_image"] ?? "";
  const image = fingerprint ? await findImage(move.client, move.request.project, fingerprint) : undefined;
  const target = (await findPool(move.client, move.request.target))?.value.driver;
  if (target === "btrfs") return image ? 0 : rootBytes;
  const ref = refOf(move, instance.name);
  const paths = snapshots.map(({ name }) => move.files.daemonPath(...snapshotVolumeOf(from, ref, name)));
  const sizes = await move.files.measure(paths, MEASURE_DEADLINE);
  return [...sizes.values()].reduce<number>((sum, size) => sum + (size ?? rootBytes), rootBytes);
}

/** IPv4 addresses that a running container has on its own NICs; those of bridges inside it do not count. */
export async function ipv4Addresses(move: Move, instance: Instance): Promise<string[]> {
  const state = await getInstanceState(move.client, refOf(move, instance.name));
  const own = Object.entries(instance.expanded_devices)
    .filter(([, device]) => device["type"] === "nic")
    .map(([name, device]) => device["hwaddr"] ?? instance.config[`volatile.${name}.hwaddr`]);
  return Object.values(state.network)
    .filter(({ hwaddr }) => hwaddr !== "" && own.includes(hwaddr))
    .flatMap(({ addresses }) => addresses)
    .filter(({ family, scope }) => family === "inet" && scope === "global")
    .map(({ address }) => address)
    .sort();
}
