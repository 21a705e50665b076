import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import { projectRoot } from "./cli.ts";
import type { HostsConfig } from "./stack.ts";

/** Hosts of a shipped config, `stacks/Pulumi.<name>.yaml`, as they are: a test's twin replaces as little as it can. */
export async function shippedHosts(name: string): Promise<HostsConfig> {
  const text = await readFile(join(projectRoot, "stacks", `Pulumi.${name}.yaml`), "utf8");
  const { config } = parse(text) as { config: { "taos-hosts:hosts": HostsConfig } };
  return config["taos-hosts:hosts"];
}
