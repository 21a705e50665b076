import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PROJECT_ROOT } from "./project.ts";

/** The script that makes a machine a host, as text for `sh -s`: its parts in the order of their names, the last one runs it. */
export function prepareScript(): string {
  const folder = join(PROJECT_ROOT, "script", "prepare");
  const parts = readdirSync(folder).filter((name) => name.endsWith(".sh"));
  return parts
    .sort()
    .map((name) => readFileSync(join(folder, name), "utf8"))
    .join("");
}
