import { createReadStream, openAsBlob } from "node:fs";
import { basename } from "node:path";
import { FormData } from "undici";
import { z } from "zod";
import type { IncusClient, WaitOptions } from "./client.ts";
import { api } from "./paths.ts";
import type { RequestOptions } from "./requests.ts";
import { Image, ImageAlias } from "./schemas.ts";

/** Images of every project's store. */
export function listImages(client: IncusClient): Promise<Image[]> {
  return client.list(api("images"), Image, { query: { recursion: 1, "all-projects": "true" } });
}

export async function findImage(
  client: IncusClient,
  project: string,
  fingerprint: string,
): Promise<Image | undefined> {
  return (await client.find(api("images", fingerprint), Image, { query: { project } }))?.value;
}

export async function findImageAlias(
  client: IncusClient,
  project: string,
  alias: string,
): Promise<ImageAlias | undefined> {
  return (await client.find(api("images", "aliases", alias), ImageAlias, { query: { project } }))?.value;
}

/** Points an alias at a fingerprint, making it where it is missing. */
export async function setImageAlias(
  client: IncusClient,
  project: string,
  alias: string,
  fingerprint: string,
): Promise<void> {
  const existing = await findImageAlias(client, project, alias);
  if (existing?.target === fingerprint) return;
  const query = { project };
  const body = { name: alias, target: fingerprint };
  if (existing)
    await client.write("PATCH", api("images", "aliases", alias), { query, body: { target: fingerprint } });
  else await client.write("POST", api("images", "aliases"), { query, body });
}

export async function deleteImageAlias(client: IncusClient, project: string, alias: string): Promise<void> {
  await client.write("DELETE", api("images", "aliases", alias), { query: { project } });
}

export async function deleteImage(
  client: IncusClient,
  project: string,
  fingerprint: string,
  wait: WaitOptions,
): Promise<void> {
  await client.run("DELETE", api("images", fingerprint), { query: { project }, wait });
}

/** Files of an image on this machine: unified tarball, or metadata tarball and root file system. */
export type ImageFiles = { file: string } | { metadata: string; rootfs: string };

/**
 * Uploads an image and returns its fingerprint. Streams from disk; `properties` are added to the image's own.
 * @throws IncusApiError 409 where an image of this fingerprint is in the store already
 */
export async function uploadImage(
  client: IncusClient,
  project: string,
  files: ImageFiles,
  properties: Record<string, string>,
  wait: WaitOptions,
): Promise<string> {
  const headers: Record<string, string> = {
    "x-incus-properties": new URLSearchParams(properties).toString(),
  };
  let raw: NonNullable<RequestOptions["raw"]>;
  if ("file" in files) {
    headers["content-type"] = "application/octet-stream";
    headers["x-incus-filename"] = basename(files.file);
    raw = createReadStream(files.file);
  } else {
    raw = new FormData();
    // Incus reads the parts in this order: metadata, then rootfs (images.go, getImgPostInfo).
    raw.append("metadata", await openAsBlob(files.metadata), basename(files.metadata));
    raw.append("rootfs", await openAsBlob(files.rootfs), basename(files.rootfs));
  }
  const { deadline } = wait;
  const done = await client.run("POST", api("images"), { query: { project }, headers, raw, deadline, wait });
  return z.object({ fingerprint: z.string() }).parse(done.metadata).fingerprint;
}
