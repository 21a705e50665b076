/**
 * `unchanged-command.ts --stack NAME --config-file FILE`: before an `up` of `npm run` on a state in files. Exits 0 with a
 * report where Pulumi would find nothing to do; else 3, in silence: Pulumi finds out what, and says so.
 */
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { clientFor, hostFingerprint } from "@taos-hosts/providers";
import { instanceArgs } from "../config/agent-args.ts";
import type { HostConfig } from "../config/config.ts";
import { hasActions, planErrors } from "../plan/plan.ts";
import { report } from "../report/report.ts";
import { isUnchanged, rememberLook } from "../run/last-look.ts";
import { programVersion } from "../run/program-version.ts";
import { lookAtStack } from "./stack-look.ts";

/** Pulumi has to run. */
const GO_ON = 3;
/** Milliseconds for each host. A slow one is for Pulumi's run, which says that it is. */
const LOOK_DEADLINE = 10_000;

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { stack: { type: "string" }, "config-file": { type: "string" } } });
  const { stack = "local" } = values;
  const { project, file, hosts, plan } = await lookAtStack(stack, values["config-file"], LOOK_DEADLINE);
  if (hasActions(plan) || planErrors(plan).length > 0) return GO_ON;
  const [program, ...seen] = await Promise.all([
    programVersion(),
    ...Object.values(hosts).map((host) => hostFingerprint(clientFor(host.connection))),
  ]);
  const config = {
    // What it has encrypted, `hosts` lacks.
    written: readFileSync(file, "utf8"),
    hosts,
    agents: Object.values(hosts).flatMap(({ agents }) => Object.values(agents).map(instanceArgs)),
    files: Object.values(hosts).flatMap(imageStamps),
  };
  const all = [process.version, project, stack, program, seen, config];
  const fingerprint = createHash("sha256").update(JSON.stringify(all)).digest("hex");
  const backend = fileURLToPath(process.env["PULUMI_BACKEND_URL"] ?? "");
  const state = { backend, project, stack, directory: join(backend, "looks") };
  if (isUnchanged(state, fingerprint)) {
    process.stdout.write(
      `${report(plan, "text")}\nUnchanged: config, program, hosts and state are as the last run left them. "npm run up -- --full" runs Pulumi all the same.\n`,
    );
    return 0;
  }
  rememberLook(state, file, fingerprint);
  return GO_ON;
}

/** Path, size and time of each file that an image comes from: too big to be read each time. */
function imageStamps({ images }: HostConfig): string[] {
  return images.flatMap(({ source }) => {
    if (!source || "url" in source) return [];
    const files = "file" in source ? [source.file] : [source.metadata, source.rootfs];
    return files.map((file) => `${file} ${statSync(file).size} ${statSync(file).mtimeMs}`);
  });
}

main().then(
  (code) => {
    // Connections to the hosts are kept alive; nothing is left to wait for.
    process.exitCode = code;
    process.stdout.write("", () => process.exit(code));
  },
  // What is wrong, Pulumi's run tells with the words of the program.
  () => process.exit(GO_ON),
);
