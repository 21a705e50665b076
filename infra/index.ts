import * as pulumi from "@pulumi/pulumi";
import { VisibleError } from "@taos-hosts/providers";
import { parseHosts } from "./config.ts";
import { checkFiles } from "./config-files.ts";
import { quietDependents } from "./failed-resources.ts";
import { Host, type HostOutputs } from "./host.ts";

/**
 * The dynamic resources' provider, made explicitly: Pulumi copies the whole stack config into the state of the
 * default one, and with it environment values that the config holds in clear.
 */
class IncusProvider extends pulumi.ProviderResource {
  constructor() {
    super("pulumi-nodejs", "incus", {});
  }
}

/** config → facts → plan → report → resources. Whatever is wrong with the config ends the run before any of it. */
async function program(): Promise<{ hosts: Record<string, HostOutputs> }> {
  quietDependents();
  const config = new pulumi.Config("taos-hosts");
  const hosts = checkFiles(parseHosts(config.requireObject<unknown>("hosts")), "..");
  const provider = new IncusProvider();
  const context = { project: pulumi.getProject(), stack: pulumi.getStack(), poolActions: {} };
  const outputs = Object.values(hosts).map((host) => [host.name, new Host(host, context, { provider }).outputs] as const);
  return { hosts: Object.fromEntries(outputs) };
}

export default () =>
  program().catch((error: unknown) => {
    throw error instanceof VisibleError ? new pulumi.RunError(error.message) : error;
  });
