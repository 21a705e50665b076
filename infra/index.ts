import * as pulumi from "@pulumi/pulumi";
import { VisibleError } from "@taos-hosts/providers";
import { parseHosts } from "./config/config.ts";
import { checkFiles } from "./config/files.ts";
import { isPreviewAlone } from "./config/pulumi-process.ts";
import { Sealing } from "./config/sealing.ts";
import { readStackConfig, refuseRewritten, withDecrypted, withoutFile } from "./config/stack-config.ts";
import { findStackFile } from "./config/stack-file.ts";
import { gatherFacts } from "./facts/facts.ts";
import { quietDependents } from "./host/failed-resources.ts";
import { Host, type HostOutputs } from "./host/host.ts";
import { declarePreparations } from "./host/preparation.ts";
import { planPrepared } from "./host/prepared-plan.ts";
import { planErrors, planHosts } from "./plan/plan.ts";
import { report, summaries } from "./report/report.ts";
import { prefetchImages } from "./run/image-prefetch.ts";
import { holdToPreview, withHeld } from "./run/previewed-plan.ts";

/** This program runs in the directory of its `main`. */
const PROJECT_ROOT = "..";

/**
 * The dynamic resources' provider, made explicitly: Pulumi copies the whole stack config into the state of the
 * default one, and with it environment values that the config holds in clear.
 */
class IncusProvider extends pulumi.ProviderResource {
  constructor() {
    super("pulumi-nodejs", "incus", {});
  }
}

/** config → facts → plan → report → resources. What is wrong with the config ends the run before any of it. */
async function program(): Promise<{ hosts: Record<string, HostOutputs> }> {
  quietDependents();
  const config = new pulumi.Config("taos-hosts");
  const given = config.requireObject<unknown>("hosts");
  const { file, isRewritten, isUnknown } = findStackFile(pulumi.getStack(), PROJECT_ROOT);
  const stackConfig = isUnknown ? withoutFile(file, given) : await readStackConfig(file, PROJECT_ROOT);
  if (isRewritten) refuseRewritten(stackConfig);
  const written = isUnknown ? given : withDecrypted(stackConfig, given);
  const sealing = new Sealing(stackConfig.encrypted);
  const hosts = sealing.mark(checkFiles(parseHosts(written), PROJECT_ROOT));
  const owner = { project: pulumi.getProject(), stack: pulumi.getStack() };
  const facts = await gatherFacts(hosts, { registers: true });
  const looked = planHosts(hosts, facts, owner);
  const isPreview = pulumi.runtime.isDryRun();
  const held = holdToPreview(looked, isPreview);
  const agreed = withHeld(looked, held);
  // Once a run: where the preview has shown it, the update only says that it is the same.
  const wasShown = held.wasShown && Object.keys(held.changed).length === 0;
  const text = wasShown ? summaries(agreed) : report(agreed, "text");
  await pulumi.log.info(
    `What ${isPreview ? "would happen" : "happens"}${wasShown ? ", as previewed" : ""}:\n${text}`,
  );
  const errors = planErrors(agreed);
  for (const error of errors) await pulumi.log.error(error);
  if (!isPreview) await prefetchImages(hosts, facts);
  const preparations = await declarePreparations(hosts, agreed, sealing);
  const plan = isPreview ? agreed : await planPrepared({ hosts, facts, owner, agreed, preparations });

  // Every host is declared, whatever the plan says of it: a resource that is left out would be deleted.
  const provider = new IncusProvider();
  const outputs: Record<string, HostOutputs> = {};
  for (const hostPlan of plan.hosts) {
    const host = hosts[hostPlan.host];
    if (host)
      outputs[host.name] = new Host(
        host,
        { ...owner, plan: hostPlan, sealing, preparation: preparations[host.name]?.resource },
        { provider },
      ).outputs;
  }
  // Pulumi lets a preview end well that has logged errors; one for a pull request must not.
  if (isPreview && errors.length > 0 && isPreviewAlone()) {
    throw new VisibleError(`${errors.length === 1 ? "1 error" : `${errors.length} errors`}, as said above.`);
  }
  return { hosts: outputs };
}

export default () =>
  program().catch((error: unknown) => {
    throw error instanceof VisibleError ? new pulumi.RunError(error.message) : error;
  });
