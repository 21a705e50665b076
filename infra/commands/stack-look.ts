import { resolve } from "node:path";
import { type HostConfig, parseHosts } from "../config/config.ts";
import { checkFiles } from "../config/files.ts";
import { PROJECT_ROOT, projectName } from "../config/project.ts";
import { Sealing } from "../config/sealing.ts";
import { readStackConfig } from "../config/stack-config.ts";
import { stackFile } from "../config/stack-file.ts";
import { gatherFacts } from "../facts/facts.ts";
import { type Plan, planHosts } from "../plan/plan.ts";

/** A stack's config and what would happen to its hosts, without Pulumi. */
export interface StackLook {
  project: string;
  /** Path of the stack's file. */
  file: string;
  hosts: Record<string, HostConfig>;
  plan: Plan;
}

/**
 * Reads a stack's file and looks at its hosts.
 * @param configFile undefined for `stacks/Pulumi.STACK.yaml`
 * @param deadline milliseconds for each host
 * @throws VisibleError where something is wrong with the config
 */
export async function lookAtStack(
  stack: string,
  configFile: string | undefined,
  deadline: number,
): Promise<StackLook> {
  const file = stackFile(stack, configFile);
  const [project, config] = await Promise.all([projectName(), readStackConfig(file, PROJECT_ROOT)]);
  const hosts = new Sealing(config.encrypted).mark(checkFiles(parseHosts(config.hosts), PROJECT_ROOT));
  const facts = await gatherFacts(hosts, { deadline });
  const path = resolve(PROJECT_ROOT, file);
  return { project, file: path, hosts, plan: planHosts(hosts, facts, { project, stack }) };
}
