/**
 * Exits 0 when node_modules holds what package-lock.json says, 1 when `npm ci` is due.
 * Both files list packages by path; npm writes the second one when an installation is complete.
 */
import { readFileSync } from "node:fs";

interface Entry {
  version?: string;
  integrity?: string;
  link?: boolean;
  optional?: boolean;
}

function packagesOf(path: string): Record<string, Entry> {
  return (JSON.parse(readFileSync(path, "utf8")) as { packages: Record<string, Entry> }).packages;
}

function isCurrent(): boolean {
  try {
    const installed = packagesOf("node_modules/.package-lock.json");
    return Object.entries(packagesOf("package-lock.json")).every(([path, wanted]) => {
      // The project itself and its workspaces are in the tree, not in node_modules.
      if (!path.startsWith("node_modules/") && !path.includes("/node_modules/")) return true;
      const found = installed[path];
      // An optional package of another platform is not installed.
      if (found === undefined) return wanted.optional === true;
      return (
        found.version === wanted.version && found.integrity === wanted.integrity && found.link === wanted.link
      );
    });
  } catch {
    return false;
  }
}

process.exitCode = isCurrent() ? 0 : 1;
