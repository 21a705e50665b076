import { formatBytes, parseBytes } from "../common/bytes.ts";
import { VisibleError } from "../common/errors.ts";
import { refuseForeignMounts } from "../host/foreign-mounts.ts";
import { findImage } from "../incus/images.ts";
import { getInstanceState, listBackups, listSnapshots } from "../incus/instances.ts";
import { findPool } from "../incus/pools.ts";
import { rootDevice } from "../incus/root-device.ts";
import type { Instance, Snapshot } from "../incus/schemas.ts";
import { type Identity, identityOf } from "../marks/identity.ts";
import { copyName, parkedName } from "../marks/made-names.ts";
import { parkedRecordOf } from "../marks/parked-record.ts";
import { countedLimits, migrationRefusal, projectRules } from "../project/limits.ts";
import { ensureSpace } from "./copy/space.ts";
import { countFlagged, hasNestedSubvolumes, snapshotVolumeOf, volumeOf } from "./copy/volume.ts";
import { type Move, refOf } from "./move.ts";
import { listProjectInstances } from "./observation.ts";
import { startConflict } from "./start-conflict.ts";
import { requireTools } from "./tools.ts";

/** Drivers whose volumes are directories that can be compared file by file. */
const DRIVERS = ["btrfs", "dir"];
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
  refuseKinds(instance, refuse);
  await requireTools(move.files);
  const [, root] = rootDevice(instance);
  const from = root["pool"] ?? "";
  const identity = identityOf(instance);
  const { uuid } = identity;
  if (!/^[0-9a-f-]{36}$/.test(uuid))
    refuse("it has no volatile.uuid. Start it once with this Incus, then run again.");
  const forbidden = migrationRefusal(request.project, await projectRules(move.client, request.project), {
    ...countedLimits(instance.expanded_config),
    disk: parseBytes(root["size"] ?? ""),
  });
  if (forbidden) refuse(`${forbidden.reason}. ${forbidden.remedy}`);
  const conflict = await startConflict(move.client, move.files, instance);
  if (conflict) refuse(`${conflict.reason}. ${conflict.remedy}`);
  const copy = copyName(instance.name, uuid);
  const parked = parkedName(instance.name, uuid);
  await refuseTakenNames(move, [copy, parked], refuse);
  const sourceDriver = await refusePools(move, from, refuse);

  const ref = refOf(move, instance.name);
  const backups = await listBackups(move.client, ref);
  if (backups.length > 0) {
    refuse(
      `it has server-side backups (${backups.map(({ name }) => name).join(", ")}), which Incus cannot carry to another pool. Export them (incus export) and delete them, then run again.`,
    );
  }
  const snapshots = await listSnapshots(move.client, ref);
  const stateful = snapshots.find((snapshot) => snapshot.stateful);
  if (stateful)
    refuse(
      `its snapshot "${stateful.name}" holds process state, which cannot be moved. Delete that snapshot, then run again.`,
    );

  const rootBytes = await inspectFiles(move, instance, { from, sourceDriver, snapshots }, refuse);
  const limit = parseBytes(root["size"] ?? "");
  if (limit !== undefined && rootBytes > limit) {
    refuse(
      `it uses ${formatBytes(rootBytes)}, more than the size of its root disk (${formatBytes(limit)}), which pool "${from}" did not enforce and "${request.target}" does. Raise the root disk's size or delete files, then run again.`,
    );
  }
  await ensureSpace(
    move.client,
    move.files,
    request.target,
    await expectedBytes(move, instance, snapshots, rootBytes, from),
  );
  const addresses = instance.status === "Running" ? await ipv4Addresses(move, instance) : [];
  return { instance, from, identity, copy, parked, snapshots, rootBytes, addresses };
}

type Refuse = (reason: string) => never;

function refuseKinds(instance: Instance, refuse: Refuse): void {
  if (instance.type !== "container") refuse("it is a virtual machine; only containers are migrated.");
  if (instance.ephemeral)
    refuse("it is ephemeral: stopping it deletes it. Make it permanent (incus config edit), then run again.");
  if (instance.stateful)
    refuse("its stopped state holds process state, which cannot be moved. Start it, then run again.");
  if (instance.status !== "Running" && instance.status !== "Stopped") {
    refuse(`it is neither running nor stopped but "${instance.status}". Start or stop it, then run again.`);
  }
}

async function refuseTakenNames(move: Move, names: readonly string[], refuse: Refuse): Promise<void> {
  const instances = await listProjectInstances(move.client, move.request.project);
  for (const name of names) {
    const taken = instances.find((one) => one.name === name);
    if (!taken) continue;
    if (parkedRecordOf(taken)) {
      refuse(
        `its parked copy "${name}" of an earlier migration still exists. Name it in optIn.removeParked once it is no longer needed, then run again.`,
      );
    }
    refuse(
      `the name "${name}" is needed for it and taken by another instance. Rename that one, then run again.`,
    );
  }
}

async function refusePools(move: Move, from: string, refuse: Refuse): Promise<string> {
  const { target } = move.request;
  if (from === target) refuse(`it is on pool "${target}" already.`);
  const [source, destination] = await Promise.all([
    findPool(move.client, from),
    findPool(move.client, target),
  ]);
  if (!destination) return refuse(`pool "${target}" does not exist.`);
  if (destination.value.status !== "Created") {
    refuse(
      `pool "${target}" is not available (${destination.value.status}). See "incus warning list" on the host; once it is back, run again.`,
    );
  }
  for (const pool of [source, destination]) {
    if (pool && !DRIVERS.includes(pool.value.driver)) {
      refuse(
        `pool "${pool.value.name}" uses driver ${pool.value.driver}, whose files cannot be compared one by one. Supported: ${DRIVERS.join(", ")}.`,
      );
    }
  }
  return source?.value.driver ?? "";
}

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
