import { ImageAliasName, ImageSource } from "@taos-hosts/providers";
import { z } from "zod";
import { strict } from "./sections.ts";
import { LocalFile } from "./values.ts";

const SHA256 = "must be the file's SHA-256, 64 hex digits (sha256sum FILE)";

const ImageObject = strict({
  /** `*` is every image that the host has under an alias. */
  alias: z.union([z.literal("*"), ImageAliasName], { error: aliasError }),
  file: LocalFile.optional(),
  metadata: LocalFile.optional(),
  rootfs: LocalFile.optional(),
  url: z.string().max(4_096).refine(isHttps, "must be an https:// URL").optional(),
  sha256: z
    .string()
    .regex(/^[0-9a-fA-F]{64}$/, SHA256)
    .toLowerCase()
    .optional(),
});

function aliasError(issue: { input?: unknown }): string {
  const parsed = ImageAliasName.safeParse(issue.input);
  return parsed.error?.issues[0]?.message ?? "must be an image alias, or * for every image of the host";
}

function isHttps(text: string): boolean {
  return /^https:\/\//.test(text) && URL.canParse(text) && !/\s/.test(text);
}

const FORMS =
  "an image has one of: file; metadata and rootfs; url and sha256; none of them where the host has it already";

/**
 * One image to keep warm. Without a source it must be in the host's image store. Paths are as written until
 * `checkFiles` made them absolute.
 */
export interface ImageConfig {
  alias: string;
  source?: ImageSource;
}

/** An image, or its alias alone. */
export const Image = z
  .preprocess((value) => (typeof value === "string" ? { alias: value } : value), ImageObject)
  .transform(({ alias, ...given }, context): ImageConfig => {
    const issue = (message: string, path: string[] = []): never => {
      context.addIssue({ code: "custom", message, path });
      return z.NEVER;
    };
    const keys = Object.keys(given);
    if (keys.length === 0) return { alias };
    if (alias === "*")
      return issue("stands for the images that the host has, so it takes no file or url", ["alias"]);
    const { data: source } = ImageSource.safeParse(given);
    if (!source) return keys.join() === "url" ? issue(SHA256, ["sha256"]) : issue(FORMS);
    return { alias, source };
  });
