import { type IncusDaemon, startDaemon } from "../../test/testbed/daemon.ts";
import { buildBigImage, importImage } from "../../test/testbed/images.ts";

export const ALIAS = "taos-openclaw-base";
/** 200 MB in 8,400 files, for what does not copy it; the migration has images of its own. */
const IMAGE = { fileCount: 8_400, bytes: 200e6 };

/** A private daemon with a warm btrfs pool `default`, a `dir` pool `plain`, bridge, default profile and the image. */
export async function withScene<T>(name: string, task: (daemon: IncusDaemon) => Promise<T>): Promise<T> {
  const daemon = await startDaemon({ name });
  try {
    await importImage(daemon, ALIAS, await buildBigImage(IMAGE));
    await daemon.incus("storage", "create", "plain", "dir");
    await daemon.incus("storage", "create", "default", "btrfs", "size=8GiB");
    await daemon.incus("network", "create", "incusbr0", "ipv6.address=none");
    await daemon.incus("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default");
    await daemon.incus("profile", "device", "add", "default", "eth0", "nic", "network=incusbr0");
    await daemon.incus("create", ALIAS, "warm");
    await daemon.incus("delete", "warm");
    return await task(daemon);
  } finally {
    await daemon.remove();
  }
}
