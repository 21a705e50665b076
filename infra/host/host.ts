import * as pulumi from "@pulumi/pulumi";
import { ownerMark } from "@taos-hosts/providers";
import {
  Instance,
  InstancePlacement,
  Network,
  ProfileDevices,
  StoragePool,
  WarmImage,
} from "@taos-hosts/providers/resources";
import { instanceArgs } from "../config/agent-args.ts";
import type { HostConfig } from "../config/config.ts";
import { mapValues } from "../config/map-values.ts";
import { withImagePaths, withTlsPaths } from "../config/paths.ts";
import type { Sealing } from "../config/sealing.ts";
import { type HostPlan, planErrors } from "../plan/plan.ts";
import { bridgeWish, poolWishes } from "../plan/wishes.ts";
import { orEmpty } from "./failed-resources.ts";
import { isPlacementNamed, placementArgs } from "./placement-args.ts";
import { portable } from "./portable.ts";
import { sealed, sealedIf } from "./secret-args.ts";

/** What a host's resources need beside its config. */
export interface HostContext {
  /** Pulumi project and stack: part of the ownership marks. */
  project: string;
  stack: string;
  /** What would happen to this host: the providers refuse when it has changed since, or when the plan has errors. */
  plan: HostPlan;
  /** What of the config is encrypted. */
  sealing: Sealing;
  /** What prepares the host, where its config says so. */
  preparation?: pulumi.Resource | undefined;
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
    const { plan } = context;
    const isSealed = (...path: string[]): boolean => context.sealing.holds(config.name, ...path);
    const host = sealedIf(
      isSealed("connection") || Object.keys(config.connection.tls ?? {}).some((key) => isSealed("tls", key)),
      withTlsPaths(config.connection, portable),
    );
    const hold = planErrors({ hosts: [plan] }).join("\n") || undefined;
    const common = (name: string) => ({
      host,
      owner: ownerMark(context.project, context.stack, config.name, name),
      hold,
    });
    const named = (name: string): string => `${config.name}/${name}`;
    const after = (...dependsOn: pulumi.Resource[]) => ({ parent: this, dependsOn });

    const { optIn } = config;
    // Of a host that does not answer nothing is known: its second pool is declared, since what is left out is deleted.
    const wishes = poolWishes(config, plan.pool.decision === null || plan.pool.cowDecision !== null);
    const mainPool = new StoragePool(
      named(wishes.main.name),
      { ...common(wishes.main.name), ...wishes.main, expect: plan.pool.decision?.action },
      after(...(context.preparation ? [context.preparation] : [])),
    );
    const cowPool =
      wishes.cow &&
      new StoragePool(
        named(wishes.cow.name),
        { ...common(wishes.cow.name), ...wishes.cow, expect: plan.pool.cowDecision?.action },
        after(mainPool),
      );
    const serving = cowPool ?? mainPool;

    // A dir pool with content: bridge and profile are left alone too, until a migration is opted in.
    const leave = cowPool ? undefined : mainPool.left;
    const bridge = bridgeWish(config);
    const network = new Network(
      named(bridge.name),
      { ...common(bridge.name), ...bridge, leave },
      after(mainPool),
    );

    const areImagesSecret = isSealed("images");
    const images = config.images.map(
      ({ alias, source }) =>
        new WarmImage(
          named(alias),
          {
            ...common(alias),
            alias,
            project: config.project,
            pool: serving.pool,
            source: source && sealedIf(areImagesSecret, withImagePaths(source, portable)),
          },
          { ...after(serving), additionalSecretOutputs: areImagesSecret ? ["source"] : [] },
        ),
    );

    const placements = mapValues(config.containers, (container, name) => {
      const isSecret = isSealed("containers", name, "health");
      const { health, ...args } = placementArgs(config, name, container, serving.pool);
      return new InstancePlacement(
        named(name),
        {
          ...common(name),
          name,
          project: container.project,
          protected: container.protected,
          ...args,
          removeParked: optIn.removeParked.includes(name),
          health: sealedIf(isSecret, health),
        },
        { ...after(serving, ...images), additionalSecretOutputs: isSecret ? ["health"] : [] },
      );
    });

    const profile = new ProfileDevices(
      named("default-profile"),
      {
        ...common("default-profile"),
        pool: serving.pool,
        network: network.name,
        leave,
        repointFrom: cowPool && (config.pool.name ?? mainPool.pool),
        placements: pulumi.all(mapValues(placements, whereaboutsOf)),
      },
      after(serving, network, ...Object.values(placements)),
    );

    const agents = mapValues(config.agents, (agent, name) => {
      const placement = isPlacementNamed(config, name)
        ? { placement: pulumi.output(placementArgs(config, name, agent, serving.pool)) }
        : {};
      return new Instance(
        named(name),
        {
          ...common(name),
          name,
          pool: serving.pool,
          ...sealed({ ...instanceArgs(agent), ...placement }),
          allowReplace: optIn.replace.includes(name),
          removeParked: optIn.removeParked.includes(name),
        },
        { ...after(profile, ...images), protect: agent.protected },
      );
    });

    this.outputs = {
      pool: orEmpty(serving.pool),
      driver: orEmpty(serving.effectiveDriver),
      launchPool: orEmpty(profile.rootPool),
      agents: mapValues(agents, ({ ipv4 }) => orEmpty(ipv4)),
      containers: mapValues(placements, ({ pool }) => orEmpty(pool)),
    };
    // For the policy pack, which sees the new state only: what is on the host must still be declared.
    this.registerOutputs({ protectedAgents: plan.protectedAgents });
  }
}

/** Where a container is and whether its root disk comes from a profile: either change may free the profile. */
function whereaboutsOf({ pool, inheritsRoot }: InstancePlacement): pulumi.Output<string> {
  return pulumi.all([pool, inheritsRoot]).apply(([on, inherits]) => (inherits ? `${on}, by profile` : on));
}
