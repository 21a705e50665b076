import { aliasedImages, imageNamed, imageStore, isCopyOnWrite } from "@taos-hosts/providers";
import type { ImageConfig } from "../config/image-schema.ts";
import type { EffectivePool } from "./effective-pool.ts";
import type { Scene } from "./scene.ts";
import { nearest, WAITS_FOR_POOL } from "./words.ts";

/**
 * Images of the config: on the host, and unpacked in the pool where that keeps unpacked images.
 * @returns aliases without an image that a container can be made from
 */
export function planImages(
  scene: Scene,
  effective: EffectivePool | undefined,
  missingProjects: ReadonlySet<string>,
): Set<string> {
  const { host, look, findings } = scene;
  const missing = new Set<string>();
  if (missingProjects.has(host.project)) return missing;
  const project = imageStore(look.projects, host.project);
  for (const { alias, source } of host.images.flatMap((image) => meantBy(image, project, scene))) {
    const object = `image ${alias}`;
    const image = imageNamed(look.images, project, alias);
    if (!image && !source) {
      missing.add(alias);
      const aliases = look.images.filter((one) => one.project === project).flatMap((one) => one.aliases);
      findings.refuse(
        { object },
        {
          reason: "it is not on the host, and the config names no file or url for it",
          remedy: `${nearest("On the host", alias, aliases)}Import it there, or give it a file or url under images.`,
        },
      );
    } else if (image?.unfit !== undefined) {
      missing.add(alias);
      findings.refuse(
        { object },
        {
          reason: `no container can be made from it: ${image.unfit}`,
          remedy: "Point the alias at an image for this host (incus image alias), or name another one.",
        },
      );
    } else if (!effective) {
      findings.hold({ object }, WAITS_FOR_POOL);
    } else if (!image) {
      const warm = isCopyOnWrite(effective.driver) ? ` and unpacked in pool ${effective.name}` : "";
      findings.act("import-image", { object }, `imported${warm}`, { pool: effective.name, detail: alias });
    } else if (isCopyOnWrite(effective.driver) && !effective.warm.includes(image.fingerprint)) {
      const reason = `unpacked in pool ${effective.name}, so that launches are snapshots`;
      findings.act("warm-image", { object }, reason, { pool: effective.name, detail: image.fingerprint });
    }
  }
  return missing;
}

/** The image itself, or for `*` every image of the host that a container can be made from, by its first alias. */
function meantBy(image: ImageConfig, project: string, { look, findings }: Scene): ImageConfig[] {
  if (image.alias !== "*") return [image];
  const fitting = new Set<string>();
  for (const { aliases, unfit } of aliasedImages(look.images, project)) {
    const [alias = ""] = aliases;
    if (unfit === undefined) fitting.add(alias);
    else findings.remarks.push(`image ${alias} is left out of "*": ${unfit}`);
  }
  return [...fitting].map((alias) => ({ alias }));
}
