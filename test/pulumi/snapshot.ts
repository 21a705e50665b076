import type { IncusDaemon } from "../testbed/daemon.ts";

/** Everything on a daemon that a stack could have left there; used_by lists, which only repeat it, apart. */
export async function daemonContents(d: IncusDaemon): Promise<unknown> {
  const paths = ["instances", "images", "storage-pools", "networks", "profiles", "projects", "certificates"];
  const lists = await Promise.all(
    paths.map(async (path) => {
      const all =
        path === "instances" || path === "images" || path === "profiles" ? "&all-projects=true" : "";
      const list = await d.query<Record<string, unknown>[]>(`/1.0/${path}?recursion=1${all}`);
      return [path, list.map(({ used_by: _usedBy, last_used_at: _lastUsed, ...object }) => object)] as const;
    }),
  );
  const { config } = await d.query<{ config: Record<string, string> }>("/1.0");
  return { ...Object.fromEntries(lists), config };
}
