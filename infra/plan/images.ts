import { type HostLook, isCopyOnWrite, nearestNames } from "@taos-hosts/providers";
import type { HostConfig } from "../config.ts";
import type { EffectivePool } from "./pools.ts";
import { type Findings, noFindings } from "./types.ts";

/** Images of the config: on the host, and unpacked in the pool where that keeps unpacked images. */
export function planImages(
  host: HostConfig,
  look: HostLook,
  effective: EffectivePool | undefined,
): Findings & { missing: Set<string> } {
  const findings = { ...noFindings(), missing: new Set<string>() };
  const project = imageProject(look, host.project);
  const aliases = look.images.filter((image) => image.project === project).flatMap((image) => image.aliases);
  const found = new Set(
    look.images.flatMap((image) => (image.project === project ? image.aliases.slice(0, 1) : [])),
  );
  const listed = host.images.flatMap((image) =>
    image.alias === "*" ? [...found].map((alias) => ({ alias })) : [image],
  );
  for (const { alias, source } of listed as HostConfig["images"]) {
    const object = `image ${alias}`;
    const image = look.images.find((one) => one.project === project && one.aliases.includes(alias));
    if (!image && !source) {
      findings.missing.add(alias);
      const near = nearestNames(alias, aliases);
      findings.refusals.push({
        severity: "error",
        object,
        reason: "it is not on the host, and the config names no file or url for it",
        remedy: `${near.length > 0 ? `On the host: ${near.join(", ")}. ` : ""}Import it there, or give it a file or url under images.`,
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

/** The project whose image store a project uses. */
function imageProject(look: HostLook, project: string): string {
  return look.projects.some((one) => one.name === project && one.ownImages) ? project : "default";
}
