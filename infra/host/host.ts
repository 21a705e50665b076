import { relative } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { type HostConnection, type ImageSource, ownerMark, type PoolDecision } from "@taos-hosts/providers";
import {
  Instance,
  InstancePlacement,
  Network,
  ProfileDevices,
  StoragePool,
  WarmImage,
} from "@taos-hosts/providers/resources";
import { instanceArgs } from "../config/agent-args.ts";
import type { AgentConfig, HostConfig } from "../config/config.ts";
import type { Sealing } from "../config/sealing.ts";
import { bridgeWish } from "../plan/bridge-wish.ts";
import { type HostPlan, planErrors } from "../plan/plan.ts";
import { poolWishes } from "../plan/pool-wishes.ts";
import { orEmpty } from "./failed-resources.ts";

/** What a host's resources need beside its config. */
export interface HostContext {
  /** Pulumi project and stack: part of the ownership marks. */
  project: string;
  stack: string;
  /** What would happen to this host: the providers refuse when it has changed since, or when the plan has errors. */
  plan: HostPlan;
  /** What of the config is encrypted. */
  sealing: Sealing;
}

/** Stack output of one host. */
export interface HostOutputs {
  /** Pool that new containers of this stack are on. */
  pool: pulumi.Output<string>;
  driver: pulumi.Output<string>;
  /** Pool of the default profile: where `incus launch` without options goes. */
  launchPool: pulumi.Output<string>;
  /** First IPv4 address of each agent. */
  agents: Record<string, pulumi.Output<string>>;
  /** Pool of each existing container in the config. */
  containers: Record<string, pulumi.Output<string>>;
}

/**
 * One host: pool, bridge, default profile, warm images, existing containers' placement, agents. Every resource in the
 * config is declared on every run, whatever the host says: one that is left out would be deleted.
 */
export class Host extends pulumi.ComponentResource {
  readonly outputs: HostOutputs;

  constructor(config: HostConfig, context: HostContext, opts?: pulumi.ComponentResourceOptions) {
    super("taos-hosts:infra:Host", config.name, {}, opts);
    const { sealing } = context;
    const isHostSecret = ["connection", "tls"].some((key) => sealing.holds(config.name, key));
    const host = isHostSecret ? pulumi.secret(portable(config.connection)) : portable(config.connection);
    const errors = planErrors({ hosts: [context.plan] });
    const hold = errors.length > 0 ? { hold: errors.join("\n") } : {};
    const common = (name: string) => ({
      host,
      owner: ownerMark(context.project, context.stack, config.name, name),
      ...hold,
    });
    const named = (name: string): string => `${config.name}/${name}`;
    const after = (...dependsOn: pulumi.Resource[]): pulumi.CustomResourceOptions => ({
      parent: this,
      dependsOn,
    });

    const { optIn } = config;
    // Of a host that does not answer nothing is known: its second pool is declared, since what is left out is deleted.
    const { unreachable, pool } = context.plan;
    const wishes = poolWishes(config, unreachable !== null || pool.cowDecision !== null);
    const mainPool = new StoragePool(
      named(wishes.main.name),
      { ...common(wishes.main.name), ...wishes.main, ...expectation(context.plan.pool.decision) },
      { parent: this },
    );
    const cowPool = wishes.cow
      ? new StoragePool(
          named(wishes.cow.name),
          { ...common(wishes.cow.name), ...wishes.cow, ...expectation(context.plan.pool.cowDecision) },
          after(mainPool),
        )
      : undefined;
    const serving = cowPool ?? mainPool;

    // A dir pool with content: bridge and profile are left alone too, until a migration is opted in.
    const leave = cowPool ? {} : { leave: mainPool.left };
    const bridge = bridgeWish(config);
    const network = new Network(
      named(bridge.name),
      { ...common(bridge.name), ...bridge, ...leave },
      after(mainPool),
    );

    const areImagesSecret = sealing.holds(config.name, "images");
    const images = config.images.map(
      ({ alias, source }) =>
        new WarmImage(
          named(alias),
          {
            ...common(alias),
            alias,
            project: config.project,
            pool: serving.pool,
            ...(source
              ? { source: areImagesSecret ? pulumi.secret(portableSource(source)) : portableSource(source) }
              : {}),
          },
          { ...after(serving), ...(areImagesSecret ? { additionalSecretOutputs: ["source"] } : {}) },
        ),
    );

    const placements = Object.entries(config.containers).map(([name, container]) => {
      const isSecret = sealing.holds(config.name, "containers", name, "health");
      const placement = new InstancePlacement(
        named(name),
        {
          ...common(name),
          name,
          project: container.project,
          protected: container.protected,
          // Named only for a container that is to move: the others' resources stay the same beside it.
          ...(optIn.migrate.includes(name) ? { migrate: true, target: container.pool ?? serving.pool } : {}),
          pinRoot: optIn.pinRoot.includes(name),
          undo: optIn.undo.includes(name),
          removeParked: optIn.removeParked.includes(name),
          forceStop: optIn.forceStop.includes(name),
          stopTimeout: container.stopTimeout,
          migrateParallel: config.migrateParallel,
          ...(container.health
            ? { health: isSecret ? pulumi.secret(container.health) : container.health }
            : {}),
        },
        {
          ...after(serving, ...images),
          ...(isSecret ? { additionalSecretOutputs: ["health"] } : {}),
        },
      );
      return [name, placement] as const;
    });

    const profile = new ProfileDevices(
      named("default-profile"),
      {
        ...common("default-profile"),
        pool: serving.pool,
        network: network.name,
        ...leave,
        ...(cowPool ? { repointFrom: config.pool.name ?? mainPool.pool } : {}),
        placements: pulumi.all(
          Object.fromEntries(placements.map(([name, placement]) => [name, whereaboutsOf(placement)])),
        ),
      },
      after(serving, network, ...placements.map(([, placement]) => placement)),
    );

    const agents = Object.entries(config.agents).map(([name, agent]) => {
      const instance = new Instance(
        named(name),
        {
          ...common(name),
          name,
          pool: serving.pool,
          ...sealed({ ...instanceArgs(agent), ...placementArgs(config, name, agent, serving.pool) }),
          allowReplace: optIn.replace.includes(name),
          removeParked: optIn.removeParked.includes(name),
        },
        { ...after(profile, ...images), protect: agent.protected },
      );
      return [name, instance] as const;
    });

    this.outputs = {
      pool: orEmpty(serving.pool),
      driver: orEmpty(serving.effectiveDriver),
      launchPool: orEmpty(profile.rootPool),
      agents: Object.fromEntries(agents.map(([name, instance]) => [name, orEmpty(instance.ipv4)])),
      containers: Object.fromEntries(placements.map(([name, placement]) => [name, orEmpty(placement.pool)])),
    };
    // For the policy pack, which sees the new state only: what is on the host must still be declared.
    this.registerOutputs({ protectedAgents: context.plan.protectedAgents });
  }
}

/** Opt-ins about an agent's pool; nothing where none names it, so that its resource stays the same beside others. */
function placementArgs(
  { optIn, migrateParallel }: HostConfig,
  name: string,
  { pool, health, stopTimeout }: AgentConfig,
  serving: pulumi.Output<string>,
) {
  const isNamed = (names: readonly string[]): boolean => names.includes(name);
  if (![optIn.migrate, optIn.pinRoot, optIn.undo].some(isNamed)) return {};
  const migrate = isNamed(optIn.migrate);
  const placement = {
    ...(migrate ? { migrate, target: pool ?? serving } : {}),
    ...{ pinRoot: isNamed(optIn.pinRoot), undo: isNamed(optIn.undo), forceStop: isNamed(optIn.forceStop) },
    ...{ stopTimeout, migrateParallel, ...(health ? { health } : {}) },
  };
  return { placement: pulumi.output(placement) };
}

/** Where a container is and whether its root disk comes from a profile: either change may free the profile. */
function whereaboutsOf({ pool, inheritsRoot }: InstancePlacement): pulumi.Output<string> {
  return pulumi.all([pool, inheritsRoot]).apply(([on, inherits]) => (inherits ? `${on}, by profile` : on));
}

/** Config keys of an agent that its resource has under another name. */
const KEPT_IN: Record<string, string> = { health: "placement", pool: "placement", stopTimeout: "placement" };

/** Args of an agent with those as secrets that hold anything encrypted. */
function sealed<T extends { secretProps?: string[] }>(args: T): T {
  const names = (args.secretProps ?? []).map((key) => KEPT_IN[key] ?? key).filter((name) => name in args);
  const secretProps = [...new Set(names)];
  if (secretProps.length === 0) return args;
  const secrets = secretProps.map((name) => [name, pulumi.secret(Reflect.get(args, name))]);
  return { ...args, ...Object.fromEntries(secrets), secretProps };
}

function expectation(decision: PoolDecision | null): { expect?: string } {
  return decision === null ? {} : { expect: decision.action };
}

/** Paths as the provider process resolves them, from this program's directory: the same on every machine. */
function portable(connection: HostConnection): HostConnection {
  const { tls } = connection;
  if (!tls) return connection;
  const moved = Object.entries(tls).flatMap(([key, value]) =>
    value === undefined ? [] : [[key, key.endsWith("File") ? portablePath(value) : value]],
  );
  return { ...connection, tls: Object.fromEntries(moved) };
}

function portableSource(source: ImageSource): ImageSource {
  if ("url" in source) return source;
  if ("file" in source) return { ...source, file: portablePath(source.file) };
  return { metadata: portablePath(source.metadata), rootfs: portablePath(source.rootfs) };
}

function portablePath(path: string): string {
  const fromHere = relative(process.cwd(), path);
  return fromHere.startsWith("../../") ? path : fromHere;
}
