import type { HostConnection, ImageSource } from "@taos-hosts/providers";

/** Gives a path of the config another form. @param key the key that it stands at */
type Change = (path: string, key: string) => string;

/** A connection with the paths of its TLS files changed. */
export function withTlsPaths(connection: HostConnection, change: Change): HostConnection {
  const { tls } = connection;
  if (!tls) return connection;
  const changed = Object.entries(tls).map(([key, value]) => [
    key,
    typeof value === "string" && key.endsWith("File") ? change(value, key) : value,
  ]);
  return { ...connection, tls: Object.fromEntries(changed) };
}

/** An image's source with the paths of its files changed. */
export function withImagePaths(source: ImageSource, change: Change): ImageSource {
  if ("url" in source) return source;
  if ("file" in source) return { ...source, file: change(source.file, "file") };
  return { metadata: change(source.metadata, "metadata"), rootfs: change(source.rootfs, "rootfs") };
}
