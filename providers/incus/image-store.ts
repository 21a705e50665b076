/** An image of some store, from the API or from a look. */
interface StoredImage {
  project: string;
  fingerprint: string;
  aliases: readonly (string | { name: string })[];
}

/**
 * The project in whose store a project's images are: `default` where it has none of its own (`features.images`), or is
 * not on the host.
 */
export function imageStore(
  projects: readonly { name: string; ownImages: boolean }[],
  project: string,
): string {
  return projects.some(({ name, ownImages }) => name === project && ownImages) ? project : "default";
}

/** Names of an image's aliases. */
export function aliasesOf({ aliases }: Pick<StoredImage, "aliases">): string[] {
  return aliases.map((alias) => (typeof alias === "string" ? alias : alias.name));
}

/** The image that an alias means in a store; undefined where it means none. */
export function imageNamed<I extends StoredImage>(
  images: readonly I[],
  store: string,
  alias: string,
): I | undefined {
  return images.find((image) => image.project === store && aliasesOf(image).includes(alias));
}

/** Images of a store that have an alias, in the order of their fingerprints: what `*` stands for. */
export function aliasedImages<I extends StoredImage>(images: readonly I[], store: string): I[] {
  return images
    .filter(({ project, aliases }) => project === store && aliases.length > 0)
    .sort((a, b) => a.fingerprint.localeCompare(b.fingerprint));
}
