import { type Document, parseDocument, Scalar, visit } from "yaml";

/** Name of the config key, for messages. */
export const HOSTS_KEY = "taos-hosts:hosts";

/** Stands where the file has an encrypted value: only Pulumi can decrypt it. */
export const ENCRYPTED = "(secret)";

/** The hosts of a stack file, as written. */
export interface StackYaml {
  /** Value of `taos-hosts:hosts`; undefined where there is none. */
  hosts: unknown;
  /** Paths below `hosts` of the values that Pulumi keeps encrypted; `ENCRYPTED` is in their place. */
  encrypted: PropertyKey[][];
}

/**
 * Reads the text of a stack file: the one reading for plan, program and set-up. Aliases and merges (`<<`) are
 * resolved. An unquoted value whose type would not give its text back (`0644`, `1.10`, `2023-06-01`, `True`, a number
 * beyond 2^53) is that text; all others have their type. Pure.
 * @returns the hosts, or why the text is no stack file, without any value of it
 */
export function parseStackYaml(text: string): StackYaml | { problem: string } {
  const read = readYaml(text);
  if ("problem" in read) return read;
  const hosts = property(property(read.content, "config"), HOSTS_KEY);
  if (isEncrypted(hosts)) {
    return {
      problem: `has ${HOSTS_KEY} encrypted as a whole. Encrypt single values of it: pulumi config set --secret --path …`,
    };
  }
  const encrypted: PropertyKey[][] = [];
  return { hosts: withoutSecrets(hosts, [], encrypted), encrypted };
}

/** The content of a YAML text by the rules of `parseStackYaml`, encrypted values as the file has them. Pure. */
export function readYaml(text: string): { content: unknown } | { problem: string } {
  const document = parseDocument(text, { merge: true, prettyErrors: true });
  const [wrong] = [...document.errors, ...document.warnings];
  // Only the first line: the others quote the file, which may hold values that are nobody's business.
  if (wrong) return { problem: `is no YAML: ${wrong.message.split("\n")[0] ?? ""}` };
  keepTexts(document);
  try {
    return { content: document.toJS() };
  } catch (error) {
    return { problem: `is no YAML: ${error instanceof Error ? (error.message.split("\n")[0] ?? "") : ""}` };
  }
}

/** Pulumi's reader, this one's and any other's agree on the types of few values; on their text they all do. */
function keepTexts(document: Document): void {
  visit(document, {
    Scalar(key, node) {
      const { source, value } = node;
      const isText = typeof value === "string" || typeof value === "symbol" || value === null;
      if (isText || source === undefined || node.type !== Scalar.PLAIN) return;
      if (key === "key" || String(value) !== source) node.value = source;
    },
  });
}

function property(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, key)
    ? Reflect.get(value, key)
    : undefined;
}

/** The form that Pulumi gives an encrypted value in the file. */
export function isEncrypted(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    Object.keys(value).length === 1 &&
    typeof property(value, "secure") === "string"
  );
}

/** A value with `ENCRYPTED` for each encrypted one in it, whose path is added to `encrypted`. */
export function withoutSecrets(value: unknown, path: PropertyKey[], encrypted: PropertyKey[][]): unknown {
  if (isEncrypted(value)) {
    encrypted.push(path);
    return ENCRYPTED;
  }
  if (Array.isArray(value))
    return value.map((inner, index) => withoutSecrets(inner, [...path, index], encrypted));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, withoutSecrets(inner, [...path, key], encrypted)]),
  );
}
