import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { request } from "undici";
import { formatBytes } from "../common/bytes.ts";
import { messageOf, VisibleError } from "../common/errors.ts";
import { lifetimeSignal } from "../common/lifetime.ts";
import type { Progress } from "../pulumi/progress.ts";

/** An image that never arrives must not hold a run for ever: 30 minutes for some 500 MB on a slow line. */
const DOWNLOAD_DEADLINE = 1_800_000;

function cacheDirectory(): string {
  const base = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  return join(base, "taos-hosts", "images");
}

const known = new Map<string, string>();

/** SHA-256 of a file in hex, remembered while the file stays the same. @throws VisibleError where it cannot be read */
export async function sha256OfFile(path: string): Promise<string> {
  try {
    const { size, mtimeMs } = await stat(path);
    const key = `${path}\0${size}\0${mtimeMs}`;
    const cached = known.get(key);
    if (cached) return cached;
    const hash = createHash("sha256");
    await pipeline(createReadStream(path), hash);
    const digest = hash.digest("hex");
    known.set(key, digest);
    return digest;
  } catch (error) {
    throw new VisibleError(`Cannot read image file ${path}: ${messageOf(error)}`);
  }
}

/**
 * Downloads an image into the user's cache and returns its path; a file that is there with the right hash is used.
 * @param sha256 what the file must hash to, in hex; anything else is deleted and refused
 * @throws VisibleError on a failed download or a wrong hash
 */
export async function downloadImage(url: string, sha256: string, progress: Progress): Promise<string> {
  const wanted = sha256.toLowerCase();
  const directory = cacheDirectory();
  const target = join(directory, wanted);
  if ((await sha256OfFile(target).catch(() => undefined)) === wanted) return target;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const partial = `${target}.${process.pid}.partial`;
  const hash = createHash("sha256");
  try {
    const signal = AbortSignal.any([lifetimeSignal(), AbortSignal.timeout(DOWNLOAD_DEADLINE)]);
    const body = await openFollowing(url, signal, 5);
    const total = Number(body.headers["content-length"] ?? 0);
    let received = 0;
    const meter = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        hash.update(chunk);
        received += chunk.length;
        const share = total > 0 ? ` of ${formatBytes(total)}, ${Math.floor((received * 100) / total)} %` : "";
        progress(`downloading ${formatBytes(received)}${share}`);
        done(null, chunk);
      },
    });
    await pipeline(body.body, meter, createWriteStream(partial, { mode: 0o600 }));
    const digest = hash.digest("hex");
    if (digest !== wanted) {
      throw new VisibleError(
        `has sha256 ${digest}, ${wanted} is configured. Correct the sha256, or do not trust the file`,
      );
    }
    await rename(partial, target);
    return target;
  } catch (error) {
    throw new VisibleError(`Image ${url}: ${messageOf(error)}.`);
  } finally {
    await rm(partial, { force: true });
  }
}

async function openFollowing(
  url: string,
  signal: AbortSignal,
  redirects: number,
): ReturnType<typeof request> {
  const response = await request(url, { signal, headersTimeout: 60_000 });
  const location = response.headers["location"];
  if (
    response.statusCode >= 300 &&
    response.statusCode < 400 &&
    typeof location === "string" &&
    redirects > 0
  ) {
    await response.body.dump();
    const next = new URL(location, url);
    if (next.protocol !== "https:")
      throw new VisibleError(`is redirected to ${next.protocol}, only https is followed`);
    return openFollowing(next.href, signal, redirects - 1);
  }
  if (response.statusCode !== 200) throw new VisibleError(`the server answers ${response.statusCode}`);
  return response;
}
