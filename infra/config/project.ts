import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { VisibleError } from "@taos-hosts/providers";
import { parse } from "yaml";
import { z } from "zod";

/** Where Pulumi.yaml is. */
export const PROJECT_ROOT = join(import.meta.dirname, "..", "..");

const ProjectFile = z.looseObject({ name: z.string().min(1) });

/**
 * Name of the Pulumi project in `folder`: the first part of every mark, and what the backend files its stacks under.
 * The program has the same from `pulumi.getProject()`.
 * @throws VisibleError where Pulumi.yaml has none
 */
export async function projectName(folder = PROJECT_ROOT): Promise<string> {
  const file = join(folder, "Pulumi.yaml");
  const { data } = ProjectFile.safeParse(parse(await readFile(file, "utf8")));
  if (!data) throw new VisibleError(`${file} has no name: write name: NAME of the Pulumi project.`);
  return data.name;
}
