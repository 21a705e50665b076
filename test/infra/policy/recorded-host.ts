import * as pulumi from "@pulumi/pulumi";
import { Sealing } from "../../../infra/config/sealing.ts";
import { Host } from "../../../infra/host/host.ts";
import { planHosts } from "../../../infra/plan/plan.ts";
import type { SeenResource } from "../../../infra/policy/rules.ts";
import type { HostLook } from "../../../providers/index.ts";
import { hostConfig } from "../plan/hosts.ts";
import { CONTEXT, HOST } from "../plan/world.ts";

/** Answers registrations instead of the engine: no CLI, no host. */
await pulumi.runtime.setMocks(
  { newResource: ({ id, name, inputs }) => ({ id: id ?? name, state: inputs }), call: () => ({}) },
  CONTEXT.project,
  CONTEXT.stack,
);

/** A Host whose outputs can be read where the engine would get them. */
class RecordedHost extends Host {
  declare registered: Record<string, unknown>;

  protected override registerOutputs(outputs?: pulumi.Inputs): void {
    this.registered = { ...outputs };
    super.registerOutputs(outputs);
  }
}

/** The resources that the real Host component registers for this config and look, as a policy would see them. */
export function recordHost(raw: unknown, look: HostLook): SeenResource[] {
  const config = hostConfig(raw);
  const [plan] = planHosts({ [HOST]: config }, { [HOST]: { look } }, CONTEXT).hosts;
  if (!plan) throw new Error("no plan");
  const recorded: SeenResource[] = [];
  const transformation: pulumi.ResourceTransformation = ({ type, name, props, opts }) => {
    recorded.push({ type, name, props, opts: { protect: opts.protect === true } });
    return undefined;
  };
  const host = new RecordedHost(
    config,
    { ...CONTEXT, plan, sealing: new Sealing([]) },
    { transformations: [transformation] },
  );
  return recorded.map((one) => (one.name === HOST ? { ...one, props: host.registered } : one));
}
