import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { PROJECT_ROOT } from "../config/project.ts";

/** What the program of a stack is made of; the rest of infra/ only starts it. */
const PARTS = ["infra", "providers", "Pulumi.yaml", "package.json", "package-lock.json"];
const NOT_OF_IT = /^infra\/(fleet|page|commands)\/|(^|\/)node_modules\//;

/** Digest of the program's files, 64 hex digits: the same in every checkout of the same program. */
export async function programVersion(root = PROJECT_ROOT): Promise<string> {
  const files = await Promise.all(
    PARTS.map(async (part) => {
      const inside = await readdir(join(root, part), { recursive: true, withFileTypes: true }).catch(
        () => undefined,
      );
      if (inside === undefined) return [part];
      return inside
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
    }),
  );
  const hash = createHash("sha256");
  for (const file of files
    .flat()
    .filter((one) => !NOT_OF_IT.test(one))
    .sort()) {
    const content = await readFile(join(root, file)).catch(() => "");
    hash.update(`${file}\0`).update(content).update("\0");
  }
  return hash.digest("hex");
}
