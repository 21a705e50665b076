import { cp, mkdir, readdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { projectRoot } from "./cli.ts";

/** Makes another checkout of the program in `directory`, with the packages of this one and no state. */
export async function copyCheckout(directory: string): Promise<void> {
  for (const entry of [
    "infra",
    "providers",
    "script",
    "stacks",
    "Pulumi.yaml",
    "package.json",
    "package-lock.json",
    "tools",
    "tsconfig.json",
  ]) {
    await cp(join(projectRoot, entry), join(directory, entry), { recursive: true });
  }
  await mkdir(join(directory, "node_modules"));
  for (const entry of await readdir(join(projectRoot, "node_modules"))) {
    if (entry !== "@taos-hosts")
      await symlink(join(projectRoot, "node_modules", entry), join(directory, "node_modules", entry));
  }
  await mkdir(join(directory, "node_modules/@taos-hosts"));
  await symlink("../../providers", join(directory, "node_modules/@taos-hosts/providers"));
}
