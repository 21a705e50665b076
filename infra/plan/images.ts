import {
  aliasedImages,
  type HostLook,
  imageNamed,
  imageStore,
  isCopyOnWrite,
  nearestNames,
} from "@taos-hosts/providers";
import type { HostConfig } from "../config/config.ts";
import type { EffectivePool } from "./pools.ts";
import { type Findings, noFindings } from "./types.ts";

/** Images of the config: on the host, and unpacked in the pool where that keeps unpacked images. */
export function planImages(
  host: HostConfig,
  look: HostLook,
  effective: EffectivePool | undefined,
  missingProjects: ReadonlySet<string>,
): Findings & { missing: Set<string> } {
  const findings = { ...noFindings(), missing: new Set<string>() };
  if (missingProjects.has(host.project)) return findings;
  const project = imageStore(look.projects, host.project);
  const aliases = look.images.filter((image) => image.project === project).flatMap((image) => image.aliases);
  const listed: HostConfig["images"] = host.images.flatMap((image) => {
    if (image.alias !== "*") return [image];
    const own = aliasedImages(look.images, project);
    for (const {
      aliases: [alias = ""],
      unfit,
    } of own)
      if (unfit !== undefined) findings.remarks.push(`image ${alias} is left out of "*": ${unfit}`);
    const fitting = new Set(own.flatMap(({ aliases: names, unfit }) => (unfit ? [] : names.slice(0, 1))));
    return [...fitting].map((alias) => ({ alias }));
  });
  for (const { alias, source } of listed) {
    const object = `image ${alias}`;
    const image = imageNamed(look.images, project, alias);
    if (!image && !source) {
      findings.missing.add(alias);
      const near = nearestNames(alias, aliases);
      findings.refusals.push({
        severity: "error",
        object,
        reason: "it is not on the host, and the config names no file or url for it",
        remedy: `${near.length > 0 ? `On the host: ${near.join(", ")}. ` : ""}Import it there, or give it a file or url under images.`,
      });
    } else if (image?.unfit !== undefined) {
      findings.missing.add(alias);
      findings.refusals.push({
        severity: "error",
        object,
        reason: `no container can be made from it: ${image.unfit}`,
        remedy: "Point the alias at an image for this host (incus image alias), or name another one.",
      });
    } else if (!effective) {
      findings.refusals.push({
        severity: "held",
        object,
        reason: "it waits for the pool",
        remedy: "See what is said of the pool.",
      });
    } else if (!image) {
      const warm = isCopyOnWrite(effective.driver) ? ` and unpacked in pool ${effective.name}` : "";
      findings.actions.push({
        kind: "import-image",
        object,
        pool: effective.name,
        detail: alias,
        reason: `imported${warm}`,
      });
    } else if (isCopyOnWrite(effective.driver) && !effective.warm.includes(image.fingerprint)) {
      findings.actions.push({
        kind: "warm-image",
        object,
        pool: effective.name,
        detail: image.fingerprint,
        reason: `unpacked in pool ${effective.name}, so that launches are snapshots`,
      });
    }
  }
  return findings;
}
