import { type Document, isAlias, isMap, isScalar, isSeq, parseDocument, Scalar } from "yaml";
import { HOSTS_KEY } from "./stack-yaml.ts";

/** Stands in the copy of a stack file that Pulumi gets, for values that it would write into its history in clear. */
export const WITHHELD = "(kept from Pulumi's history)";

/** The key that merges other maps. */
const MERGE = "<<";

/** Whether a value at a path below the hosts is a secret whatever the config says of it. */
export function isAlwaysSecret(path: readonly PropertyKey[]): boolean {
  if (path[1] === "tls") return path[2] === "token";
  if (path[1] !== "agents") return false;
  return (path.length === 5 && path[3] === "environment") || (path[3] === "files" && path[5] === "content");
}

/**
 * The text of a stack file without trust tokens, the values of `environment` and the content of `files`: the program takes those
 * from the file itself. What is encrypted stays, and everything else is the same to the letter.
 */
export function withheldCopy(text: string): string {
  const document = parseDocument(text, { merge: true });
  const spans: { start: number; end: number; block: boolean }[] = [];
  const hosts = resolved(document.getIn(["config", HOSTS_KEY], true), document);
  for (const host of valuesOf(hosts, document)) {
    const tls = entryOf(host, "tls", document);
    collect(isMap(tls) ? tls.get("token", true) : undefined);
    for (const agent of valuesOf(entryOf(host, "agents", document), document)) {
      const environment = entryOf(agent, "environment", document);
      // What a merge key names is a map, whose own values are collected where it stands.
      for (const { key, value } of isMap(environment) ? environment.items : [])
        if (!isScalar(key) || key.source !== MERGE) collect(value);
      for (const file of valuesOf(entryOf(agent, "files", document), document))
        collect(isMap(file) ? file.get("content", true) : undefined);
    }
  }
  function collect(node: unknown): void {
    if (!isScalar(node) && !isAlias(node)) return;
    const [start, end] = node.range ?? [];
    if (start === undefined || end === undefined || spans.some((span) => span.start === start)) return;
    const block = isScalar(node) && (node.type === Scalar.BLOCK_LITERAL || node.type === Scalar.BLOCK_FOLDED);
    // An entry without a value is none to keep.
    if (end > start) spans.push({ start, end, block });
  }
  return spans
    .sort((a, b) => b.start - a.start)
    .reduce(
      (copy, { start, end, block }) =>
        `${copy.slice(0, start)}${JSON.stringify(WITHHELD)}${block ? "\n" : ""}${copy.slice(end)}`,
      text,
    );
}

function resolved(node: unknown, document: Document): unknown {
  return isAlias(node) ? node.resolve(document) : node;
}

function entryOf(node: unknown, key: string, document: Document): unknown {
  return isMap(node) ? resolved(node.get(key, true), document) : undefined;
}

function rawValuesOf(node: unknown): unknown[] {
  if (isMap(node)) return node.items.map(({ value }) => value);
  return isSeq(node) ? node.items : [];
}

/** Values of a map or items of a list, aliases resolved; the maps that a merge key names among them. */
function valuesOf(node: unknown, document: Document): unknown[] {
  return rawValuesOf(node).map((value) => resolved(value, document));
}
