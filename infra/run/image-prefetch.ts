import {
  checkImageFiles,
  downloadImage,
  imageNamed,
  imageStore,
  messageOf,
  progressFor,
  VisibleError,
} from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";
import { HOSTS_KEY } from "../config/stack-yaml.ts";
import type { HostFacts } from "../facts/facts.ts";

/**
 * Brings images that a host lacks and the config gives by URL onto this machine and checks the hash of these and of
 * local files, before anything is written to any host. The resources then find them in the cache.
 * @throws VisibleError listing each that cannot be had, with its config path
 */
export async function prefetchImages(
  hosts: Record<string, HostConfig>,
  facts: Record<string, HostFacts>,
): Promise<void> {
  const problems: string[] = [];
  for (const host of Object.values(hosts)) {
    const known = facts[host.name];
    if (!known || !("look" in known)) continue;
    const store = imageStore(known.look.projects, host.project);
    for (const [index, { alias, source }] of host.images.entries()) {
      if (!source) continue;
      const wrong = await checkImageFiles(source);
      if (wrong !== undefined)
        problems.push(
          `${HOSTS_KEY}.${host.name}.images[${index}]: ${wrong}. Correct it, or take the right file.`,
        );
      if (!("url" in source) || imageNamed(known.look.images, store, alias)) continue;
      try {
        await downloadImage(source.url, source.sha256, progressFor(host.name, `image ${alias}`));
      } catch (error) {
        problems.push(`${HOSTS_KEY}.${host.name}.images[${index}]: ${messageOf(error)}`);
      }
    }
  }
  if (problems.length > 0) {
    throw new VisibleError(`Images cannot be had; nothing was done.\n${problems.join("\n")}`);
  }
}
