import { type Finding, type Judgment, OUT_OF_REACH } from "./finding.ts";

/** A published security hole of Incus. */
interface Hole {
  cve: string;
  what: string;
  /** First version with it, where not all before `fixed` have it. */
  since?: string;
  fixed: string;
  /** First version of the 6.0 LTS without it, where there is one. */
  lts?: string;
  /** The N of Debian's 6.0.4-2+debXuN from which it is mended there; absent where no N up to 7 does. */
  debian?: number;
}

/**
 * By the advisories of lxc/incus and their CVE records; Debian's by its changelog, up to 6.0.4-2+deb13u7. To be added to
 * by hand: nothing is asked of the network.
 */
const HOLES: readonly Hole[] = [
  {
    cve: "CVE-2026-23953",
    what: "a newline in environment.* injects LXC config",
    fixed: "6.21",
    lts: "6.0.6",
    debian: 4,
  },
  {
    cve: "CVE-2026-23954",
    what: "templates of an image read and write files of the host",
    fixed: "6.21",
    lts: "6.0.6",
    debian: 4,
  },
  { cve: "CVE-2026-33542", what: "the hash of an image is not checked", fixed: "6.23", debian: 5 },
  { cve: "CVE-2026-33897", what: "templates of an image reach the host's files", fixed: "6.23", debian: 5 },
  { cve: "CVE-2026-35527", what: "an image's URL goes round the server restriction", fixed: "7.0" },
  { cve: "CVE-2026-48751", what: "a restricted project lets commands run", fixed: "7.2" },
  {
    cve: "CVE-2026-115372",
    what: "a restricted project's user runs mkfs with options of his own",
    since: "7.3",
    fixed: "7.5",
  },
];

/** `6.0.4-2+deb13u7~bpo12+1`: Debian's own package; its N, 0 where there is none. Other distributions' say nothing of it. */
function debianUpdate(version: string): number | undefined {
  const found = /^6\.0\.4-\d+(?:\+deb\d+u(\d+))?(?:~bpo[\d+]+)?(?:\+b\d+)?$/.exec(version);
  return found ? Number(found[1] ?? 0) : undefined;
}

function isBelow(version: string, other: string): boolean {
  const [ours, theirs] = [version, other].map((one) => one.split(".").map(Number));
  for (const index of [0, 1, 2]) {
    const difference = (ours?.[index] ?? 0) - (theirs?.[index] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/**
 * Known holes of the Incus that runs.
 * @param version as Incus says it: the upstream one, which does not tell what a distribution has mended
 * @param packaged the version of its package; null where it is from none, undefined where nobody could look
 */
export function judgeIncus(version: string, packaged: string | null | undefined): Judgment {
  const known = HOLES.filter(
    ({ since, fixed, lts }) =>
      isBelow(version, fixed) &&
      !(since !== undefined && isBelow(version, since)) &&
      !(lts !== undefined && version.startsWith("6.0.") && !isBelow(version, lts)),
  );
  if (version === "" || known.length === 0) return { findings: [], notLookedAt: [] };
  const object = `Incus ${packaged ?? version}`;
  if (packaged === undefined) {
    const names = known.map(({ cve }) => cve).join(", ");
    const why = `${version} as it was released has them, and what the distribution has mended is not told; ${OUT_OF_REACH}`;
    return { findings: [], notLookedAt: [{ object: `Incus ${version}: ${names}`, why }] };
  }
  const update = packaged === null ? undefined : debianUpdate(packaged);
  const open = known.filter(({ debian }) => update === undefined || debian === undefined || update < debian);
  const findings = open.map((hole): Finding => {
    const mended = update !== undefined && hole.debian !== undefined;
    const nowhere = update !== undefined && hole.debian === undefined;
    const fixed = `fixed in ${hole.fixed}${hole.lts === undefined ? "" : ` and ${hole.lts}`}`;
    return {
      severity: nowhere ? "note" : "warning",
      rule: "incus-hole",
      object,
      what: `${hole.cve}: ${hole.what}; ${fixed}${mended ? `, in Debian in 6.0.4-2+deb13u${hole.debian}` : ""}${nowhere ? ", in no 6.0.4 of Debian up to u7" : ""}`,
      mend: nowhere
        ? "Let nobody but yourself use restricted projects and images here, or take Incus from https://github.com/zabbly/incus"
        : "sudo apt-get update && sudo apt-get install --only-upgrade incus-base incus",
    };
  });
  return { findings, notLookedAt: [] };
}
