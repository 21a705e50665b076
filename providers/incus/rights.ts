/** What a request does with its object, in words. */
const VERBS: Record<string, string> = {
  ...{ GET: "see", HEAD: "see", POST: "create", PUT: "change", PATCH: "change", DELETE: "delete" },
};

/**
 * Which right on which object a refused request lacks, with the way out; undefined where it was refused for something
 * else. Incus 6.0 says only that the certificate is restricted, later ones name the entitlement.
 */
export function missingRight(method: string, path: string, reason: string): string | undefined {
  const [, entitlement, on = ""] = /entitlement "(\w+)" on object "([^"]+)"/.exec(reason) ?? [];
  if (entitlement === undefined && !/certificate is restricted/i.test(reason)) return undefined;
  const right =
    entitlement === undefined
      ? `to ${VERBS[method] ?? "use"} ${objectAt(path)}`
      : `${entitlement} on ${on.replace(":", " ")}`;
  return `This client's certificate is restricted and lacks the right ${right}. On the host: incus config trust edit FINGERPRINT, with restricted: false.`;
}

/** `/1.0/storage-pools/default/volumes` is a volume list of storage pool default. */
function objectAt(path: string): string {
  const [, collection = "", name, ...more] = path.split("/").slice(1).map(decodeURIComponent);
  if (collection === "") return "the server's settings";
  const kind = collection.replaceAll("-", " ");
  if (name === undefined) return kind;
  return `${more.length > 0 ? `${more.join(" ")} of ` : ""}${kind.replace(/s$/, "")} ${name}`;
}
