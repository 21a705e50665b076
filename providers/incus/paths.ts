/**
 * Builds an API path from segments, each percent-encoded: names such as `..` or `a/b` can never reach another endpoint.
 * `api("instances", "mary")` is `/1.0/instances/mary`.
 */
export function api(...segments: string[]): string {
  return `/1.0/${segments.map((segment) => (segment === "." || segment === ".." ? segment.replaceAll(".", "%2E") : encodeURIComponent(segment))).join("/")}`;
}

/** Last segment of an API URL such as `/1.0/profiles/default?project=x`, with its project. */
export function parseApiUrl(url: string): { kind: string; segments: string[]; project: string } {
  const parsed = new URL(url, "http://incus");
  const [, , kind = "", ...segments] = parsed.pathname.split("/").map(decodeURIComponent);
  return { kind, segments, project: parsed.searchParams.get("project") ?? "default" };
}
