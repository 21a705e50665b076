/** `download.ts URL FILE`: fetches over HTTPS; 10 s to connect (Node's default), 30 min in all. Exits 1 with one line on failure. */
import { createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";

const deadlineMs = 30 * 60 * 1000;

async function download(url: string, file: string): Promise<void> {
  const response = await fetch(url, { signal: AbortSignal.timeout(deadlineMs) });
  if (!response.ok || response.body === null) throw new Error(`HTTP ${response.status}`);
  await pipeline(response.body, createWriteStream(file));
}

const [url, file] = process.argv.slice(2);
if (url === undefined || file === undefined) throw new Error("Usage: download.ts URL FILE");
try {
  await download(url, file);
} catch (error) {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  console.error(
    `taos-hosts: ${new URL(url).host} could not be used: ${cause instanceof Error ? cause.message : String(cause)}`,
  );
  process.exitCode = 1;
}
