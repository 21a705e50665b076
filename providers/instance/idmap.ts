import { VisibleError } from "../common/errors.ts";
import { localMachine } from "../host/local-machine.ts";
import type { IncusClient } from "../incus/client.ts";

/** Ids of the host that a `raw.idmap` value maps: `both 1000 0` gives uid 1000 and gid 1000. */
function mappedIds(idmap: string): { file: "/etc/subuid" | "/etc/subgid"; id: number }[] {
  return idmap.split("\n").flatMap((line) => {
    const [kind, hostIds] = line.trim().split(/\s+/);
    const id = Number((hostIds ?? "").split("-")[0]);
    if (!Number.isInteger(id)) return [];
    const uid = { file: "/etc/subuid", id } as const;
    const gid = { file: "/etc/subgid", id } as const;
    return kind === "both" ? [uid, gid] : kind === "uid" ? [uid] : kind === "gid" ? [gid] : [];
  });
}

/**
 * Where `uidmap` is installed, Incus accepts a `raw.idmap` only for ids that /etc/subuid and /etc/subgid give to
 * root, and reads these files when the daemon starts. Checked on this machine only; elsewhere Incus itself refuses.
 * @throws VisibleError with the line to add
 */
export async function checkIdmap(
  client: IncusClient,
  name: string,
  idmap: string | undefined,
): Promise<void> {
  if (idmap === undefined || client.endpoint.kind !== "unix") return;
  for (const { file, id } of mappedIds(idmap)) {
    const text = await localMachine.read(file);
    if (text === undefined) continue;
    const allowed = text.split("\n").some((line) => {
      const [user, first, count] = line.split(":");
      return (user === "root" || user === "0") && id >= Number(first) && id < Number(first) + Number(count);
    });
    if (!allowed) {
      throw new VisibleError(
        `Instance "${name}": raw.idmap maps id ${id}, which ${file} does not give to root. Add the line root:${id}:1 to ${file} and restart Incus (containers keep running).`,
      );
    }
  }
}
