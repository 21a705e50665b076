import { formatBytes, InstanceName, LEAST_LOOP_SIZE, nearestNames } from "@taos-hosts/providers";
import type { ParsedHost } from "./schema.ts";
import { quote } from "./text.ts";

/** One thing wrong with the config. `path` is below the host. Reasons never hold values of `environment` or `files`. */
export interface ConfigIssue {
  path: PropertyKey[];
  reason: string;
}

/** Rules that take more than one field. */
export function hostIssues(host: ParsedHost): ConfigIssue[] {
  return [
    ...nameIssues(host),
    ...connectionIssues(host),
    ...poolIssues(host),
    ...imageIssues(host),
    ...Object.entries(host.agents).flatMap(([name, agent]) =>
      agentIssues(agent).map(({ path, reason }) => ({ path: ["agents", name, ...path], reason })),
    ),
    ...optInIssues(host),
  ];
}

function nameIssues(host: ParsedHost): ConfigIssue[] {
  const issues: ConfigIssue[] = [];
  for (const section of ["containers", "agents"] as const) {
    for (const name of Object.keys(host[section])) {
      const parsed = InstanceName.safeParse(name);
      if (!parsed.success)
        issues.push({ path: [section, name], reason: `a name ${parsed.error.issues[0]?.message ?? ""}` });
    }
  }
  for (const name of Object.keys(host.agents)) {
    if (!Object.hasOwn(host.containers, name)) continue;
    issues.push({
      path: ["agents", name],
      reason:
        "the name is under containers too. List what exists already under containers, what this stack creates under agents",
    });
  }
  return issues;
}

function connectionIssues({ connection, tls }: ParsedHost): ConfigIssue[] {
  if (!connection.startsWith("https://"))
    return tls === undefined ? [] : [{ path: ["tls"], reason: "only an https connection has tls settings" }];
  const pins = [tls?.serverCertificateFile, tls?.serverFingerprint].filter((one) => one !== undefined);
  if (pins.length === 2)
    return [{ path: ["tls"], reason: "has both serverCertificateFile and serverFingerprint. Leave one out" }];
  if (tls?.trustOnFirstUse && (pins.length > 0 || tls.token !== undefined)) {
    const reason = "the server is pinned already by another key. Leave this one out";
    return [{ path: ["tls", "trustOnFirstUse"], reason }];
  }
  if (pins.length > 0 || tls?.token !== undefined || tls?.trustOnFirstUse) return [];
  return [
    {
      path: ["tls"],
      reason:
        "an https connection needs serverFingerprint (on the host: incus info | grep certificate_fingerprint), serverCertificateFile, or the token that incus config trust add NAME prints there",
    },
  ];
}

function poolIssues({ pool }: ParsedHost): ConfigIssue[] {
  const issues: ConfigIssue[] = [];
  const issue = (key: string, reason: string) => issues.push({ path: ["pool", key], reason });
  if (pool.driver === "dir" && pool.source !== "loop")
    issue("source", "driver dir takes no source here. Leave it out");
  if (pool.size !== undefined && pool.driver === "dir") issue("size", "a dir pool has no size. Leave it out");
  else if (pool.size !== undefined && pool.source !== "loop") {
    issue("size", "only a loop file has a size. Leave it out, or set source: loop");
  }
  if (pool.size !== undefined && pool.source === "loop" && pool.size < LEAST_LOOP_SIZE) {
    issue(
      "size",
      `a loop file has at least ${formatBytes(LEAST_LOOP_SIZE)}. Set a larger one, or leave it out`,
    );
  }
  if (pool.driver === "zfs" && pool.source !== "loop" && !pool.source.startsWith("/dev/")) {
    issue("source", "a path holds btrfs only. For zfs use loop or a block device /dev/…");
  }
  return issues;
}

function imageIssues(host: ParsedHost): ConfigIssue[] {
  const seen = new Set<string>();
  return host.images.flatMap(({ alias }, index) => {
    if (!seen.has(alias)) {
      seen.add(alias);
      return [];
    }
    return [{ path: ["images", index], reason: `alias ${quote(alias)} is listed twice` }];
  });
}

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

function agentIssues(agent: ParsedHost["agents"][string]): ConfigIssue[] {
  const issues: ConfigIssue[] = [];
  for (const [name, value] of Object.entries(agent.environment)) {
    const path = ["environment", name];
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      issues.push({
        path,
        reason: "a variable's name must be letters, digits and _, and not start with a digit",
      });
    }
    // A newline here adds a line to the container's own configuration (CVE-2026-23953).
    if (CONTROL.test(value)) {
      issues.push({
        path,
        reason: "a value must hold no newline or other control character. Put longer text under files",
      });
    }
  }
  for (const [key, value] of Object.entries(agent.config)) {
    const reason = configKeyProblem(key, value, agent.idmapUid);
    if (reason !== undefined) issues.push({ path: ["config", key], reason });
  }
  for (const [name, device] of Object.entries(agent.devices)) {
    const path = ["devices", name];
    if (name === "root") {
      const own = ["type", "path", "pool", "size"].find((key) => device[key] !== undefined);
      if (own !== undefined) issues.push({ path: [...path, own], reason: ROOT_DISK });
    } else if (device["type"] === undefined) {
      issues.push({ path, reason: "a device needs a type, such as disk, nic or proxy" });
    } else if (device["type"] === "disk" && device["path"] === "/") issues.push({ path, reason: ROOT_DISK });
    for (const [key, value] of Object.entries(device)) {
      if (CONTROL.test(value))
        issues.push({ path: [...path, key], reason: "must hold no control character" });
    }
  }
  const paths = agent.files.map((file) => file.path);
  paths.forEach((file, index) => {
    if (paths.indexOf(file) < index)
      issues.push({ path: ["files", index, "path"], reason: "the path is listed twice" });
  });
  return issues;
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

/** What each switch may name: existing containers, agents of this stack, or both. */
const OPT_IN_SCOPE = {
  migrate: ["containers", "agents"],
  pinRoot: ["containers", "agents"],
  forceStop: ["containers", "agents"],
  undo: ["containers", "agents"],
  replace: ["agents"],
  removeParked: ["containers", "agents"],
} as const;

function optInIssues(host: ParsedHost): ConfigIssue[] {
  const issues: ConfigIssue[] = [];
  for (const [option, sections] of Object.entries(OPT_IN_SCOPE)) {
    const names = host.optIn[option as keyof typeof OPT_IN_SCOPE];
    const known = sections.flatMap((section) => Object.keys(host[section]));
    names.forEach((name, index) => {
      if (known.includes(name)) return;
      issues.push({ path: ["optIn", option, index], reason: notListed(name, sections, known) });
    });
  }
  if (host.pool.cow === false && host.optIn.migrate.length > 0) {
    issues.push({
      path: ["pool", "cow"],
      reason: "is false, but optIn.migrate names containers, which move to that pool. Take one of them out",
    });
  }
  return [...issues, ...contradictions(host)];
}

/** What an undo cannot be asked for beside. */
function contradictions({ optIn }: ParsedHost): ConfigIssue[] {
  return optIn.undo.flatMap((name, index) =>
    (["migrate", "pinRoot", "removeParked"] as const)
      .filter((other) => optIn[other].includes(name))
      .map((other) => ({
        path: ["optIn", "undo", index],
        reason: `${quote(name)} is under optIn.${other}, too, and an undo goes back to what was before. Take it out of one of them`,
      })),
  );
}

function notListed(name: string, sections: readonly string[], known: string[]): string {
  const where = sections.join(" or ");
  const nearest = nearestNames(name.slice(0, 64), known);
  const hint = nearest.length > 0 ? ` Nearest there: ${nearest.join(", ")} (names are exact).` : "";
  return `${quote(name)} is not listed under ${where}.${hint} Nothing was done`;
}
