import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { VisibleError } from "@taos-hosts/providers";
import { HOSTS_KEY, parseStackYaml, type StackYaml } from "./stack-yaml.ts";
import { configPath } from "./text.ts";
import { isAlwaysSecret, WITHHELD } from "./withheld.ts";

/** A stack file that was read. */
export interface StackConfig extends StackYaml {
  /** Path of the file, for messages. */
  file: string;
}

/**
 * Reads a stack file; a relative path counts from `baseDirectory`.
 * @throws VisibleError where it is not there, or no stack file
 */
export async function readStackConfig(file: string, baseDirectory: string): Promise<StackConfig> {
  const text = await readFile(resolve(baseDirectory, file), "utf8").catch(() => {
    throw new VisibleError(
      `There is no ${file}. Copy one of stacks/ to that name and edit it, or name another stack.`,
    );
  });
  const read = parseStackYaml(text);
  if ("problem" in read) throw new VisibleError(`${file} ${read.problem}`);
  return { file, ...read };
}

/**
 * The hosts of a stack file with the encrypted values that Pulumi has decrypted: all others are as the file says,
 * not as Pulumi's reader took them (it gives `0644` as 420, `1.10` as 1.1, `2023-06-01` as a time).
 * @throws VisibleError where Pulumi was given other hosts than the file has
 */
export function withDecrypted(config: StackConfig, given: unknown): unknown {
  const encrypted = new Set(config.encrypted.map((path) => JSON.stringify(path)));
  const other = (path: PropertyKey[]): never => {
    const where = path.length === 0 ? HOSTS_KEY : `${HOSTS_KEY}.${configPath(path)}`;
    throw new VisibleError(
      `Pulumi has another value at ${where} than ${config.file}; nothing was done. Write it into that file, or name the file that Pulumi reads: TAOS_HOSTS_CONFIG_FILE=FILE.`,
    );
  };
  const merge = (written: unknown, seen: unknown, path: PropertyKey[]): unknown => {
    if (encrypted.has(JSON.stringify(path))) return seen === undefined ? other(path) : seen;
    if (Array.isArray(written)) {
      if (!Array.isArray(seen) || seen.length !== written.length) return other(path);
      return written.map((inner, index) => merge(inner, seen[index], [...path, index]));
    }
    if (typeof written === "object" && written !== null) {
      if (typeof seen !== "object" || seen === null || Array.isArray(seen)) return other(path);
      const left = new Map<string, unknown>(Object.entries(seen));
      const merged = Object.entries(written).map(([key, inner]): [string, unknown] => {
        const name = left.has(key) ? key : [...left.keys()].find((one) => isSame(key, one));
        if (name === undefined) return other([...path, key]);
        const value = left.get(name);
        left.delete(name);
        return [key, merge(inner, value, [...path, key])];
      });
      const [extra] = left.keys();
      return extra === undefined ? Object.fromEntries(merged) : other([...path, extra]);
    }
    if (seen === WITHHELD && isAlwaysSecret(path)) return written;
    return isSame(written, seen) ? written : other(path);
  };
  return merge(config.hosts, given, []);
}

/** Go's text of a time, which Pulumi writes for an unquoted date. */
const TIME = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S* [+-]\d{4}/;
/** Keys of an agent whose values are texts. */
const TEXTS = ["environment", "config", "devices"];

/**
 * Refuses a file that Pulumi has just written, where texts in it may be other ones than were there before.
 * @throws VisibleError naming each that may
 */
export function refuseRewritten({ file, hosts }: StackConfig): void {
  const unsure = mangledTexts(hosts);
  if (unsure.length === 0) return;
  throw new VisibleError(
    `Pulumi has added its salt to ${file} and has written unquoted values anew as it reads them (0123 becomes 83, 1.10 becomes 1.1); nothing was done. Compare the file with the one before (git diff), put what you mean in quotes, and run again:\n${unsure.join("\n")}`,
  );
}

/**
 * The hosts as Pulumi gives them, where its file cannot be found from here: a machine without /proc, another process
 * namespace, Automation API. What was encrypted is not known, so everything that may have been counts as a secret.
 * @throws VisibleError naming each text that Pulumi has read as something else
 */
export function withoutFile(file: string, given: unknown): StackConfig {
  const unsure = mangledTexts(given);
  if (unsure.length > 0) {
    throw new VisibleError(
      `The stack's file was not found from here (${file}), so values without quotes may not be what is written there; nothing was done. Put them in quotes, or name the file (TAOS_HOSTS_CONFIG_FILE=FILE):\n${unsure.join("\n")}`,
    );
  }
  const keys = ["config", "devices", "health", "ready"];
  const agents = Object.entries(isMap(given) ? given : {}).flatMap(([host, value]) =>
    Object.keys(isMap(value) && isMap(value["agents"]) ? value["agents"] : {}).flatMap((agent) =>
      keys.map((key) => [host, "agents", agent, key]),
    ),
  );
  return { file, hosts: given, encrypted: agents };
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Config paths of texts that Pulumi has read as numbers or times. */
function mangledTexts(hosts: unknown): string[] {
  const unsure: string[] = [];
  const look = (value: unknown, path: PropertyKey[]): void => {
    if (typeof value === "object" && value !== null) {
      for (const [key, inner] of Object.entries(value)) look(inner, [...path, key]);
    } else if (path[1] === "agents" && TEXTS.includes(String(path[3]))) {
      if (typeof value === "number" || TIME.test(String(value)))
        unsure.push(`${HOSTS_KEY}.${configPath(path)}`);
    }
  };
  look(hosts, []);
  return unsure;
}

/** Whether Pulumi's value may come from what the file says: it reads more texts as numbers, truth values and times. */
function isSame(written: unknown, seen: unknown): boolean {
  if (written === null || written === undefined) return seen === null || seen === undefined;
  if (written === seen) return true;
  if (typeof written !== "string") return String(written) === String(seen);
  if (typeof seen === "boolean") return written.toLowerCase() === String(seen);
  if (numberOf(written) === Number(seen) && seen !== "" && seen !== null) return true;
  return typeof seen === "string" && dateOf(written) !== undefined && dateOf(written) === dateOf(seen);
}

/** A number as YAML 1.1 and 1.2 write them. */
function numberOf(text: string): number {
  const digits = text.replaceAll("_", "");
  const octal = /^([-+]?)0([0-7]+)$/.exec(digits);
  return octal ? Number(`${octal[1]}${Number.parseInt(octal[2] ?? "", 8)}`) : Number(digits);
}

/** The date of a time, in YAML's form or in Go's (`2023-06-01 00:00:00 +0000 UTC`). */
function dateOf(text: string): string | undefined {
  const match = /^(\d{4})-(\d\d?)-(\d\d?)(?![\d-])/.exec(text);
  return match?.slice(1).map(Number).join("-");
}
