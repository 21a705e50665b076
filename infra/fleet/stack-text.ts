import { createHash, scrypt } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { promisify } from "node:util";
import { stringify } from "yaml";
import type { HostConfig } from "../config/config.ts";
import { HOSTS_KEY } from "../config/stack-yaml.ts";
import { WITHHELD, withheldCopy } from "../config/withheld.ts";

const derive = promisify<string, string, number, Buffer>(scrypt);

/**
 * The stack config of one host, as a file: every text in quotes, so that all readers of YAML take it for one. Encrypted
 * values stay as they are, with the salt that they belong to.
 */
export function stackText(name: string, host: unknown, salt: string | undefined): string {
  const content = {
    ...(salt === undefined ? {} : { encryptionsalt: salt }),
    config: { [HOSTS_KEY]: { [name]: host } },
  };
  return stringify(content, {
    ...{
      defaultStringType: "QUOTE_DOUBLE",
      defaultKeyType: "PLAIN",
      aliasDuplicateObjects: false,
      lineWidth: 0,
    },
  });
}

/** The text for people: without values of `environment` and contents of `files`. */
export function shownText(text: string): string {
  return withheldCopy(text).replaceAll(WITHHELD, "(not shown)");
}

/**
 * What tells whether a host's config is the one that was applied, 64 hex digits: its text, the content of agents' files
 * and size and time of image files that it names. It is kept in clear, so what is secret enters it through scrypt.
 */
export async function configDigest(name: string, text: string, config: HostConfig): Promise<string> {
  const shown = withheldCopy(text);
  const hash = createHash("sha256").update(shown);
  const files = await Promise.all(
    Object.values(config.agents).flatMap((agent) =>
      agent.files.map(({ source }) => (source === undefined ? "" : readFile(source, "base64"))),
    ),
  );
  const secret = shown === text ? files.join("\n") : `${text}\n${files.join("\n")}`;
  if (secret.trim() !== "") hash.update(await derive(secret, name, 32));
  for (const file of config.images.flatMap(({ source }) => imageFiles(source))) {
    const { size, mtimeMs } = await stat(file);
    hash.update(`${size} ${mtimeMs}\n`);
  }
  return hash.digest("hex");
}

function imageFiles(source: HostConfig["images"][number]["source"]): string[] {
  if (source === undefined || "url" in source) return [];
  if ("metadata" in source) return [source.metadata, source.rootfs];
  return source.sha256 === undefined ? [source.file] : [];
}
