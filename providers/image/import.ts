import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { resolve } from "node:path";
import { IncusApiError } from "../common/errors.ts";
import type { IncusClient } from "../incus/client.ts";
import { type ImageFiles, setImageAlias, uploadImage } from "../incus/images.ts";
import { withLock } from "../incus/lock.ts";
import { OWNER_KEY } from "../marks/keys.ts";
import { progressFor } from "../pulumi/progress.ts";
import { downloadImage, sha256OfFile } from "./download.ts";
import type { ImageSource, WarmImageArgs } from "./image-args.ts";
import { IMAGE_DEADLINE } from "./warming.ts";

async function filesOf(
  source: ImageSource,
  alias: string,
  host: string,
): Promise<{ files: ImageFiles; sha256?: string }> {
  if ("url" in source) {
    const file = await downloadImage(source.url, source.sha256, progressFor(host, `image ${alias}`));
    return { files: { file } };
  }
  if ("file" in source) return { files: { file: resolve(source.file) } };
  return { files: { metadata: resolve(source.metadata), rootfs: resolve(source.rootfs) } };
}

/** Imports the image and points the alias at it; the ownership mark travels with the upload. */
export async function importImage(
  client: IncusClient,
  args: WarmImageArgs,
  source: ImageSource,
): Promise<string> {
  const { files } = await filesOf(source, args.alias, args.host.name);
  progressFor(args.host.name, `image ${args.alias}`)("importing");
  // One after the other: of two uploads of the same content at once, Incus fails one on its database's constraint.
  const fingerprint = await withLock(`image-upload:${client.key}`, async () => {
    try {
      const options = { deadline: IMAGE_DEADLINE };
      return await uploadImage(client, args.project, files, { [OWNER_KEY]: args.owner }, options);
    } catch (error) {
      const known = error instanceof IncusApiError && /fingerprint already exists/i.test(error.reason);
      if (!known) throw error;
      return fingerprintOfFiles(files);
    }
  });
  await setImageAlias(client, args.project, args.alias, fingerprint);
  return fingerprint;
}

/** Incus' fingerprint: SHA-256 over the file, or over metadata followed by root file system. */
async function fingerprintOfFiles(files: ImageFiles): Promise<string> {
  if ("file" in files) return sha256OfFile(files.file);
  const hash = createHash("sha256");
  for (const part of [files.metadata, files.rootfs]) {
    for await (const chunk of createReadStream(part)) hash.update(chunk);
  }
  return hash.digest("hex");
}

/** Files given by path are there and hash right, before anything is written anywhere. */
export async function checkImageFiles(source: ImageSource): Promise<string | undefined> {
  const paths = "file" in source ? [source.file] : "rootfs" in source ? [source.metadata, source.rootfs] : [];
  const missing = paths.find((path) => !existsSync(resolve(path)));
  if (missing !== undefined) return `image file ${missing} does not exist`;
  if ("file" in source && source.sha256 !== undefined) {
    const digest = await sha256OfFile(resolve(source.file));
    if (digest !== source.sha256.toLowerCase())
      return `image file ${source.file} has sha256 ${digest}, not ${source.sha256}`;
  }
  return undefined;
}
