import type { HostFiles } from "./files.ts";

type Devices = Record<string, Record<string, string>>;

/** Something of the host that a device needs at every start of its instance. */
export interface DeviceSource {
  device: string;
  /** Absolute path on the host, or the name of a network interface or of a pool. */
  source: string;
  kind: "path" | "interface" | "pool";
}

/**
 * What must be on the host when an instance with these devices starts, else Incus refuses the start: sources of disks,
 * character and block devices that are not `required: false`, pools of further volumes, and parents of network
 * interfaces (device/disk.go, unix_common.go, nic_*.go). While it runs, they may be long gone. The parent of a
 * `physical` one is in the container itself until it stops.
 */
export function requiredSources(devices: Devices): DeviceSource[] {
  return Object.entries(devices).flatMap(([device, keys]): DeviceSource[] => {
    const source = requiredPath(keys);
    if (source?.startsWith("/")) return [{ device, source, kind: "path" }];
    const pool = keys["type"] === "disk" && keys["path"] !== "/" ? keys["pool"] : undefined;
    if (pool) return [{ device, source: pool, kind: "pool" }];
    const isBeside = keys["type"] === "nic" && ![undefined, "physical"].includes(keys["nictype"]);
    const parent = isBeside ? keys["parent"] : undefined;
    return parent ? [{ device, source: parent, kind: "interface" }] : [];
  });
}

function requiredPath(keys: Record<string, string>): string | undefined {
  if (["false", "0", "no", "off"].includes(keys["required"] ?? "")) return undefined;
  switch (keys["type"]) {
    case "disk":
      return keys["pool"] === undefined ? keys["source"] : undefined;
    case "unix-char":
    case "unix-block":
      return keys["major"] !== undefined && keys["minor"] !== undefined
        ? undefined
        : (keys["source"] ?? keys["path"]);
    default:
      return undefined;
  }
}

/**
 * Of several instances' devices, those whose source is not on the host now. One command for all of them.
 * @param there names of all networks and interfaces of the host, as Incus lists them, and of its pools that work
 */
export async function missingSources(
  files: Pick<HostFiles, "existing">,
  instances: readonly Devices[],
  there: { interfaces: readonly string[]; pools: readonly string[] },
): Promise<DeviceSource[][]> {
  const required = instances.map(requiredSources);
  const paths = required.flat().flatMap(({ kind, source }) => (kind === "path" ? [source] : []));
  const present = {
    path: await files.existing([...new Set(paths)]),
    interface: there.interfaces,
    pool: there.pools,
  };
  return required.map((sources) => sources.filter(({ kind, source }) => !present[kind].includes(source)));
}

/** Names of the pools whose volumes can be used. */
export function workingPools(pools: readonly { name: string; status: string }[]): string[] {
  return pools.filter(({ status }) => status === "Created" || status === "").map(({ name }) => name);
}

/** Why an instance is not stopped that Incus would not start again, and the way out. */
export function missingSourcesRefusal(
  name: string,
  missing: readonly DeviceSource[],
): { reason: string; remedy: string } {
  const named = missing
    .map(({ device, source, kind }) => `${kind === "path" ? "" : `${kind} `}${source} (device ${device})`)
    .join(", ");
  return {
    reason: `${named} ${missing.length === 1 ? "is" : "are"} not to be had on the host, so Incus would not start ${name} again once it is stopped`,
    remedy: `Bring it back, or take the device off (incus config device remove ${name} ${missing[0]?.device ?? ""}; or set required=false on it), then run again.`,
  };
}
