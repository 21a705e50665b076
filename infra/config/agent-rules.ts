import type { ParsedHost } from "./schema.ts";

/** Config keys that have a field of their own, so that there is one place to look. */
const OWN_FIELDS: Record<string, string> = { "limits.memory": "memory", "limits.cpu": "cpu" };
/** Keys whose values have several lines by nature. */
const MULTI_LINE = /^(raw\.|cloud-init\.|user\.)/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the purpose.
const CONTROL = /[\u0000-\u0008\u000a-\u001f\u007f]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the purpose.
const CONTROL_IN_LINES = /[\u0000-\u0008\u000b-\u001f\u007f]/;

const ROOT_DISK =
  "the root disk comes from the pool. Set disk for its size, and further keys under devices.root";

/** Rules of one agent that its schema cannot say. @param add takes what is wrong, at a path below the agent */
export function checkAgent(
  { environment, config, idmapUid, devices, files }: ParsedHost["agents"][string],
  add: (path: PropertyKey[], reason: string) => void,
): void {
  for (const [name, value] of Object.entries(environment)) {
    const path = ["environment", name];
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
      add(path, "a variable's name must be letters, digits and _, and not start with a digit");
    // A newline here adds a line to the container's own configuration (CVE-2026-23953).
    if (CONTROL.test(value))
      add(path, "a value must hold no newline or other control character. Put longer text under files");
  }
  for (const [key, value] of Object.entries(config)) {
    const reason = configKeyProblem(key, value, idmapUid);
    if (reason !== undefined) add(["config", key], reason);
  }
  for (const [name, device] of Object.entries(devices)) {
    const path = ["devices", name];
    if (name === "root") {
      const own = ["type", "path", "pool", "size"].find((key) => device[key] !== undefined);
      if (own !== undefined) add([...path, own], ROOT_DISK);
    } else if (device["type"] === undefined) add(path, "a device needs a type, such as disk, nic or proxy");
    else if (device["type"] === "disk" && device["path"] === "/") add(path, ROOT_DISK);
    for (const [key, value] of Object.entries(device))
      if (CONTROL.test(value)) add([...path, key], "must hold no control character");
  }
  const paths = files.map((file) => file.path);
  for (const [index, file] of paths.entries())
    if (paths.indexOf(file) < index) add(["files", index, "path"], "the path is listed twice");
}

function configKeyProblem(key: string, value: string, idmapUid: number | undefined): string | undefined {
  if (key.startsWith("environment.")) return "set it under environment, where it is kept secret";
  if (key.startsWith("volatile.")) return "volatile keys are Incus' own. Leave it out";
  if (key.startsWith("user.taos.")) return "user.taos keys are this program's own. Take another name";
  const field = OWN_FIELDS[key];
  if (field !== undefined) return `set ${field} of the agent instead`;
  if (key === "raw.idmap" && idmapUid !== undefined) return "set either raw.idmap or idmapUid";
  if (!/^[a-z][A-Za-z0-9_.-]*$/.test(key)) return "is no Incus config key";
  if ((MULTI_LINE.test(key) ? CONTROL_IN_LINES : CONTROL).test(value))
    return "must hold no control character";
  return undefined;
}
