import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

/** Root of the project: where Pulumi.yaml is. */
export const projectRoot = join(import.meta.dirname, "../..");

/**
 * PATH on which the pinned Pulumi CLI and this Node come first, as script/env sets it.
 *
 * @throws Error where set-up has not brought the CLI yet.
 */
export async function pulumiPath(): Promise<string> {
  const manifest = JSON.parse(await readFile(join(projectRoot, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  const version = manifest.dependencies["@pulumi/pulumi"] ?? "";
  const home = process.env["PULUMI_HOME"] ?? join(homedir(), ".pulumi");
  const bin = join(home, "versions", version, "bin");
  if (!existsSync(join(bin, "pulumi")))
    throw new Error(`There is no Pulumi CLI in ${bin}: npm test brings it, or script/setup pulumi`);
  return [dirname(process.execPath), bin, process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin"].join(":");
}
