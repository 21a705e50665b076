import { formatBytes, InstanceName, LEAST_LOOP_SIZE, nearestNames } from "@taos-hosts/providers";
import { checkAgent } from "./agent-rules.ts";
import type { ParsedHost } from "./schema.ts";
import { quote } from "./text.ts";

/** One thing wrong with the config. `path` is below the host. Reasons never hold values of `environment` or `files`. */
export interface ConfigIssue {
  path: PropertyKey[];
  reason: string;
}

type Add = (path: PropertyKey[], reason: string) => void;

/** Rules that take more than one field. */
export function hostIssues(host: ParsedHost): ConfigIssue[] {
  const issues: ConfigIssue[] = [];
  const add: Add = (path, reason) => void issues.push({ path, reason });
  checkNames(host, add);
  checkConnection(host, add);
  checkPrepare(host, add);
  checkPool(host, add);
  checkImages(host, add);
  for (const [name, agent] of Object.entries(host.agents))
    checkAgent(agent, (path, reason) => add(["agents", name, ...path], reason));
  checkOptIns(host, add);
  checkUndo(host, add);
  return issues;
}

function checkNames({ containers, agents }: ParsedHost, add: Add): void {
  for (const [section, entries] of Object.entries({ containers, agents })) {
    for (const name of Object.keys(entries)) {
      const { error } = InstanceName.safeParse(name);
      if (error) add([section, name], `a name ${error.issues[0]?.message ?? ""}`);
    }
  }
  for (const name of Object.keys(agents)) {
    if (Object.hasOwn(containers, name)) {
      add(
        ["agents", name],
        "the name is under containers too. List what exists already under containers, what this stack creates under agents",
      );
    }
  }
}

function checkConnection({ connection, tls }: ParsedHost, add: Add): void {
  if (!connection.startsWith("https://")) {
    if (tls) add(["tls"], "only an https connection has tls settings");
    return;
  }
  const pins = [tls?.serverCertificateFile, tls?.serverFingerprint].filter((one) => one !== undefined);
  const isTokenGiven = tls?.token !== undefined;
  if (pins.length === 2) add(["tls"], "has both serverCertificateFile and serverFingerprint. Leave one out");
  else if (tls?.trustOnFirstUse && (pins.length > 0 || isTokenGiven))
    add(["tls", "trustOnFirstUse"], "the server is pinned already by another key. Leave this one out");
  else if (pins.length === 0 && !isTokenGiven && !tls?.trustOnFirstUse) {
    add(
      ["tls"],
      "an https connection needs serverFingerprint (on the host: incus info | grep certificate_fingerprint), serverCertificateFile, or the token that incus config trust add NAME prints there",
    );
  }
}

function checkPrepare({ prepare, connection }: ParsedHost, add: Add): void {
  if (prepare === undefined || connection === "unix" || connection.startsWith("ssh://")) return;
  add(
    ["prepare"],
    "takes commands on the host: its connection must be ssh://user@host, or unix for this machine",
  );
}

function checkPool({ pool: { driver, source, size, cow }, optIn }: ParsedHost, add: Add): void {
  const isLoop = source === "loop";
  if (driver === "dir" && !isLoop) add(["pool", "source"], "driver dir takes no source here. Leave it out");
  if (size !== undefined) {
    if (driver === "dir") add(["pool", "size"], "a dir pool has no size. Leave it out");
    else if (!isLoop) add(["pool", "size"], "only a loop file has a size. Leave it out, or set source: loop");
    if (isLoop && size < LEAST_LOOP_SIZE) {
      const least = formatBytes(LEAST_LOOP_SIZE);
      add(["pool", "size"], `a loop file has at least ${least}. Set a larger one, or leave it out`);
    }
  }
  if (driver === "zfs" && !isLoop && !source.startsWith("/dev/"))
    add(["pool", "source"], "a path holds btrfs only. For zfs use loop or a block device /dev/…");
  if (cow === false && optIn.migrate.length > 0) {
    add(
      ["pool", "cow"],
      "is false, but optIn.migrate names containers, which move to that pool. Take one of them out",
    );
  }
}

function checkImages({ images }: ParsedHost, add: Add): void {
  const aliases = images.map(({ alias }) => alias);
  for (const [index, alias] of aliases.entries())
    if (aliases.indexOf(alias) < index) add(["images", index], `alias ${quote(alias)} is listed twice`);
}

/** What each switch may name: existing containers, agents of this stack, or both. */
const OPT_IN_SCOPE = {
  migrate: ["containers", "agents"],
  pinRoot: ["containers", "agents"],
  forceStop: ["containers", "agents"],
  undo: ["containers", "agents"],
  replace: ["agents"],
  removeParked: ["containers", "agents"],
} as const satisfies Record<keyof ParsedHost["optIn"], readonly ("containers" | "agents")[]>;

function checkOptIns(host: ParsedHost, add: Add): void {
  for (const [option, sections] of Object.entries(OPT_IN_SCOPE)) {
    const known = sections.flatMap((section) => Object.keys(host[section]));
    for (const [index, name] of host.optIn[option as keyof typeof OPT_IN_SCOPE].entries()) {
      if (known.includes(name)) continue;
      const nearest = nearestNames(name.slice(0, 64), known);
      const hint = nearest.length > 0 ? ` Nearest there: ${nearest.join(", ")} (names are exact).` : "";
      add(
        ["optIn", option, index],
        `${quote(name)} is not listed under ${sections.join(" or ")}.${hint} Nothing was done`,
      );
    }
  }
}

/** What an undo cannot be asked for beside. */
function checkUndo({ optIn }: ParsedHost, add: Add): void {
  for (const [index, name] of optIn.undo.entries()) {
    for (const other of ["migrate", "pinRoot", "removeParked"] as const) {
      if (!optIn[other].includes(name)) continue;
      add(
        ["optIn", "undo", index],
        `${quote(name)} is under optIn.${other}, too, and an undo goes back to what was before. Take it out of one of them`,
      );
    }
  }
}
