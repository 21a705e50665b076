import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { VisibleError } from "@taos-hosts/providers";

/**
 * Looks whether Pulumi's plugin behind `@pulumi/command` is there: in Pulumi's folder, or on PATH.
 * @throws VisibleError with the way to get it
 */
export function requireCommandPlugin(environment: NodeJS.ProcessEnv = process.env): void {
  const manifest = createRequire(import.meta.url).resolve("@pulumi/command/package.json");
  const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
  const home = environment["PULUMI_HOME"] ?? join(homedir(), ".pulumi");
  const folders = (environment["PATH"] ?? "").split(delimiter);
  const places = [join(home, "plugins", `resource-command-v${version}`), ...folders];
  if (places.some((folder) => existsSync(join(folder, "pulumi-resource-command")))) return;
  throw new VisibleError(
    `"prepare" needs Pulumi's plugin command ${version}, and it is not installed; nothing was done. Get it once: eval "$(script/env)"; pulumi plugin install resource command ${version}`,
  );
}
