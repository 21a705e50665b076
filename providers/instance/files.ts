import { createHash } from "node:crypto";
import { posix } from "node:path";
import { z } from "zod";
import { VisibleError } from "../common/errors.ts";
import type { IncusClient } from "../incus/client.ts";
import { deleteFile, type FilePush, findFile, pushFile } from "../incus/instance-files.ts";
import type { InstanceRef } from "../incus/instances.ts";

/** A file that is written before the first start, with either text or bytes. */
export const InstanceFile = z.strictObject({
  /** Absolute path inside the container. Missing directories are made, root-owned, mode 0755. */
  path: z.string().regex(/^\/[^\0]*[^/\0]$/, "must be an absolute path of a file"),
  /** Text; bytes that are no text of UTF-8 go into `contentBase64` instead. */
  content: z.string().optional(),
  contentBase64: z.base64().optional(),
  /** @default 0 */
  uid: z.number().int().nonnegative().default(0),
  /** @default 0 */
  gid: z.number().int().nonnegative().default(0),
  /** Octal; Incus sets permissions only, no set-user-id, set-group-id or sticky bit. @default "0644" */
  mode: z
    .string()
    .regex(/^0?[0-7]{3}$/, "must be octal, such as 0644; Incus sets no bits beyond 0777")
    .default("0644"),
});
export type InstanceFile = z.infer<typeof InstanceFile>;

/** Links that are followed to the file that a path means, as Linux does (MAXSYMLINKS is 40). */
const MOST_LINKS = 40;
/** What everybody may read: such a file needs no care while it is written. */
const READABLE = 0o044;

/** The bytes of a file, from its text or from base64. */
function fileContent({ content, contentBase64 }: InstanceFile): Buffer {
  return contentBase64 === undefined
    ? Buffer.from(content ?? "", "utf8")
    : Buffer.from(contentBase64, "base64");
}

/**
 * What is kept on the instance of the files that were written, by path: enough to tell that one has changed, nothing
 * of its content. Plain text of a canonical form.
 */
export function filesMark(files: readonly InstanceFile[]): string {
  const digests = files.map((file): [string, string] => {
    const digest = createHash("sha256")
      .update(`${modeOf(file.mode)} ${file.uid} ${file.gid}\0`)
      .update(fileContent(file));
    return [file.path, digest.digest("hex").slice(0, 16)];
  });
  return JSON.stringify(Object.fromEntries(digests.sort(([a], [b]) => (a < b ? -1 : 1))));
}

/**
 * Writes files into an instance, running or stopped, with their directories. Each has content, mode and owner as
 * wanted afterwards, also where it was there before; what may not be read by all never lies under a wider mode.
 * @throws VisibleError where a directory has the path
 */
export async function writeFiles(
  client: IncusClient,
  ref: InstanceRef,
  files: readonly InstanceFile[],
): Promise<void> {
  for (const path of directoriesOf(files))
    await pushFile(client, ref, { path, type: "directory", uid: 0, gid: 0, mode: "0755" });
  for (const file of files) await writeOne(client, ref, file);
}

/** Directories of the files, from the top down. */
function directoriesOf(files: readonly InstanceFile[]): string[] {
  const directories = new Set<string>();
  for (const file of files) {
    for (let directory = posix.dirname(file.path); directory !== "/"; directory = posix.dirname(directory))
      directories.add(directory);
  }
  return [...directories].sort((a, b) => a.length - b.length);
}

async function writeOne(client: IncusClient, ref: InstanceRef, file: InstanceFile): Promise<void> {
  const { path, found } = await followLinks(client, ref, file.path);
  if (found?.type === "directory") {
    throw new VisibleError(
      `Cannot write the file "${file.path}" into "${ref.name}": a directory has that path. Give the file another path, or remove the directory.`,
    );
  }
  const { uid, gid } = file;
  const push: FilePush = {
    path,
    type: "file",
    uid,
    gid,
    mode: modeOf(file.mode),
    content: fileContent(file),
  };
  const isAsWanted =
    found?.uid === uid &&
    found.gid === gid &&
    Number.parseInt(found.mode, 8) === Number.parseInt(push.mode, 8);
  // Incus sets mode and owner of a file that it makes, and leaves those of one that is there (instance_file.go).
  if (found && !isAsWanted) await deleteFile(client, ref, path);
  const isOpen = (Number.parseInt(push.mode, 8) & READABLE) === READABLE;
  if (!isAsWanted && !isOpen) await pushFile(client, ref, { ...push, content: Buffer.alloc(0) });
  await pushFile(client, ref, push);
}

/** The path that is written when a path is, and what is there. */
async function followLinks(
  client: IncusClient,
  ref: InstanceRef,
  start: string,
): Promise<{ path: string; found: Awaited<ReturnType<typeof findFile>> }> {
  let path = start;
  for (let links = 0; links <= MOST_LINKS; links++) {
    const found = await findFile(client, ref, path);
    if (found?.target === undefined) return { path, found };
    path = posix.resolve(posix.dirname(path), found.target);
  }
  throw new VisibleError(
    `Cannot write the file "${start}" into "${ref.name}": its path is a circle of links. Remove the link.`,
  );
}

/** Incus takes digits without a zero before them for decimal (strconv.ParseInt with base 0). */
function modeOf(mode: string): string {
  return mode.padStart(4, "0");
}
