import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { IncusClient } from "../../providers/incus/client.ts";
import { findRecreation } from "../../providers/pool/recreation-journal.ts";
import type { IncusDaemon } from "../testbed/daemon.ts";

/** Profiles whose root disk names the pool, as `project/profile`. */
const PROFILES = ["default/default", "lab/builder", "user-1000/default"];
/** What the pool says of itself. */
export const POOL = { description: "the first pool: agents' memory", note: 'keep "this"' };

/** An empty `dir` pool `default` with a description and keys of its own, named by three profiles in three projects. */
export async function setUpEmptyPool(d: IncusDaemon): Promise<void> {
  await d.incus("network", "create", "incusbr0", "ipv6.address=none");
  await createDirPool(d);
  for (const each of PROFILES) {
    const [project = "", profile = ""] = each.split("/");
    const incus = (...args: string[]): Promise<string> => d.incus("--project", project, ...args);
    if (project !== "default") await d.incus("project", "create", project, "-c", "features.images=false");
    if (profile !== "default") await incus("profile", "create", profile, "--description", "who builds: ü");
    await incus(
      "profile",
      "device",
      "add",
      profile,
      "root",
      "disk",
      "path=/",
      "pool=default",
      ...(profile === "builder" ? ["size=3GiB", "limits.read=20MB"] : []),
    );
    await incus("profile", "device", "add", profile, "eth0", "nic", "network=incusbr0", "name=eth0");
    await incus("profile", "set", profile, `user.note=of ${each}`, "limits.memory=1GiB");
  }
}

/** After a recreation: the pool is an empty `dir` pool again, the profiles as before. */
export async function makeDirAgain(d: IncusDaemon, profiles: Profiles): Promise<void> {
  const [names, texts] = [Object.keys(profiles).map((each) => each.split("/")), Object.values(profiles)];
  for (const [project = "", profile = ""] of names) {
    await d.incus("--project", project, "profile", "device", "remove", profile, "root");
  }
  await d.incus("storage", "delete", "default");
  await createDirPool(d);
  for (const [index, [project = "", profile = ""]] of names.entries()) {
    await d.incusWithInput(texts[index] ?? "", "--project", project, "profile", "edit", profile);
  }
}

function createDirPool(d: IncusDaemon): Promise<string> {
  const { description, note } = POOL;
  const config = ["--description", description, `user.note=${note}`, "rsync.bwlimit=50MiB"];
  return d.incus("storage", "create", "default", "dir", ...config);
}

export type Profiles = Record<string, string>;

/** `incus profile show` of each of the three, byte for byte. */
export async function showProfiles(d: IncusDaemon): Promise<Profiles> {
  const shown: Profiles = {};
  for (const each of PROFILES) {
    const [project = "", profile = ""] = each.split("/");
    shown[each] = await d.incus("--project", project, "profile", "show", profile);
  }
  return shown;
}

/** The pool as a second reader shows it, without what the driver computes. */
export async function showPool(d: IncusDaemon): Promise<unknown> {
  const pool = await d.query<{
    driver: string;
    status: string;
    description: string;
    config: Record<string, string>;
  }>("/1.0/storage-pools/default");
  const { driver, status, description, config } = pool;
  const own = Object.entries(config).filter(([key]) => /^(user|rsync)\./.test(key));
  return { driver, status, description, config: Object.fromEntries(own) };
}

/** Config keys of the server itself that are left of a recreation. */
export async function journalOf(d: IncusDaemon): Promise<unknown> {
  const client = new IncusClient({ name: d.name, connection: `unix:${d.socketPath}` });
  const found = await findRecreation(client, "default").finally(() => client.close());
  const { config } = await d.query<{ config: Record<string, string> }>("/1.0");
  return found ?? Object.keys(config).find((key) => key.startsWith("user.taos."));
}

/** What `up` gives the provider of the pool. */
export function poolArgs(socketPath: string, change: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    host: { name: "board", connection: `unix:${socketPath}` },
    owner: "taos-hosts/test/board/default",
    name: "default",
    driver: "auto",
    source: "loop",
    size: 6 * 1024 ** 3,
    ...change,
  };
}

/** A directory for the daemon's PATH with a mkfs.btrfs that runs `script` first. */
export async function mkfsWrapper(d: { dataDir: string }, script: string): Promise<string> {
  const directory = join(d.dataDir, "programs");
  await mkdir(directory, { recursive: true });
  const file = join(directory, "mkfs.btrfs");
  await writeFile(file, `#!/bin/sh\n${script}\nPATH=$(echo "$PATH" | cut -d: -f2-) exec mkfs.btrfs "$@"\n`);
  await chmod(file, 0o755);
  return directory;
}
