import { isNotFound, VisibleError } from "../common/errors.ts";
import { lifetimeSignal } from "../common/lifetime.ts";
import type { IncusClient } from "../incus/client.ts";
import { findImageAlias } from "../incus/images.ts";
import { changeInstance } from "../incus/instance-patch.ts";
import { createInstance, deleteInstance, findInstance, setInstanceState } from "../incus/instances.ts";
import type { Instance } from "../incus/schemas.ts";
import { NEW, STAGE_KEY } from "../marks/keys.ts";
import { ownershipOf } from "../marks/ownership.ts";
import { settle } from "../migration/settle.ts";
import { type InstanceArgs, wantedConfig, wantedDevices } from "./config.ts";
import { writeFiles } from "./files.ts";
import { checkIdmap } from "./idmap.ts";
import { waitReady } from "./readiness.ts";
import { rootNameFor } from "./root.ts";

/** Creating includes unpacking the image where it is not warm, on slow media. */
const CREATE_DEADLINE = 1_800_000;
const START_DEADLINE = 120_000;

/** True for an instance that was begun by us and never started: nothing can have been written in it. */
export function isUnstarted(instance: Instance): boolean {
  return (
    instance.config[STAGE_KEY] === NEW &&
    instance.status === "Stopped" &&
    instance.config["volatile.last_state.power"] === undefined
  );
}

/**
 * Makes sure that nobody else's instance has the name, and clears away what a killed run of ours left unfinished.
 * @returns the instance to go on with, or undefined where it must be created
 * @throws VisibleError with both ways out where the instance was not made by this stack
 */
async function findOwn(client: IncusClient, args: InstanceArgs): Promise<Instance | undefined> {
  const first = await findInstance(client, args);
  if (!first) return undefined;
  const ownership = ownershipOf(first.value.config, args.owner);
  if (ownership !== "ours") {
    const whose =
      ownership === "foreign" ? "made by another stack" : "there already and was not made by this stack";
    throw new VisibleError(
      `Instance "${args.name}" is ${whose}. List it under containers to look after it, or give the agent another name.`,
    );
  }
  // Operations of a run that was killed go on in the daemon.
  await settle(client, args.project, [args.name], lifetimeSignal());
  const settled = await findInstance(client, args);
  if (!settled) return undefined;
  if (isUnstarted(settled.value)) {
    await deleteInstance(client, args, { deadline: START_DEADLINE }).catch((error: unknown) => {
      if (!isNotFound(error)) throw error;
    });
    return undefined;
  }
  return settled.value;
}

/**
 * Everything that can be known to fail is refused before the create request.
 * @returns the image's fingerprint
 */
export async function preflightInstance(client: IncusClient, args: InstanceArgs): Promise<string> {
  await rootNameFor(client, args);
  await checkIdmap(client, args.name, wantedConfig(args)["raw.idmap"]);
  const alias = await findImageAlias(client, args.project, args.image);
  if (!alias) {
    throw new VisibleError(
      `Instance "${args.name}": image "${args.image}" is not on the host. List it under images with a file or url, or import it.`,
    );
  }
  return alias.target;
}

async function createNew(client: IncusClient, args: InstanceArgs): Promise<void> {
  const fingerprint = await preflightInstance(client, args);
  const root = await rootNameFor(client, args);
  const hasFiles = args.files.length > 0;
  await createInstance(
    client,
    args.project,
    {
      name: args.name,
      type: "container",
      description: args.description,
      profiles: args.profiles,
      config: { ...wantedConfig(args), [STAGE_KEY]: NEW },
      devices: wantedDevices(args, args.pool, root),
      source: { type: "image", fingerprint },
      start: !hasFiles,
    },
    { deadline: CREATE_DEADLINE },
  );
  if (!hasFiles) return;
  await writeFiles(client, args, args.files);
  await setInstanceState(client, args, { action: "start" }, { deadline: START_DEADLINE });
}

/** Facts about a made instance that go into state. */
export interface Made {
  uuid: string;
  ipv4: string;
  /** True where it was there already, made by a run that was killed before Pulumi kept its state. */
  isResumed: boolean;
}

/**
 * Creates the instance, or goes on with what a killed run of ours left, and waits until it is ready.
 * @param onCreated called once the instance exists, before readiness is waited for
 */
export async function makeInstance(
  client: IncusClient,
  args: InstanceArgs,
  onCreated: (instance: Instance) => void,
): Promise<Made> {
  const own = await findOwn(client, args);
  if (!own) {
    try {
      await createNew(client, args);
    } catch (error) {
      const found = await findInstance(client, args).catch(() => undefined);
      if (found && ownershipOf(found.value.config, args.owner) === "ours") onCreated(found.value);
      throw error;
    }
  }
  return { ...(await finishInstance(client, args, onCreated)), isResumed: own !== undefined };
}

/** Starts an instance of ours that was never up, waits until it is ready and takes the stage mark off. */
export async function finishInstance(
  client: IncusClient,
  args: InstanceArgs,
  onCreated: (instance: Instance) => void,
): Promise<Made> {
  const found = await findInstance(client, args);
  if (!found)
    throw new VisibleError(`Instance "${args.name}" vanished right after it was created. Run up again.`);
  const instance = found.value;
  onCreated(instance);
  const unfinished = instance.config[STAGE_KEY] !== undefined;
  if (unfinished && instance.status === "Stopped") {
    await setInstanceState(client, args, { action: "start" }, { deadline: START_DEADLINE });
  }
  const running = unfinished || instance.status === "Running";
  const ipv4 = running ? await waitReady(client, instance, args.ready, args.readyTimeout) : "";
  if (unfinished) await changeInstance(client, args, () => ({ config: { [STAGE_KEY]: "" } }));
  return { uuid: instance.config["volatile.uuid"] ?? "", ipv4, isResumed: false };
}
