import { formatBytes, type ParkedHealth } from "@taos-hosts/providers";
import { type Finding, type Judgment, OUT_OF_REACH } from "./finding.ts";

const DAY = 86_400_000;
/** Days after which what was put aside is asked about. */
const LONG = 30;

/** What was put aside and is still there. */
export function judgeParked(
  host: string,
  parked: readonly ParkedHealth[],
  filesReadable: boolean,
  now: number,
): Judgment {
  const findings = parked.map((one): Finding => {
    const days = Math.floor((now - one.at) / DAY);
    const size = one.bytes === null ? "size unknown" : formatBytes(one.bytes);
    const project = one.project === "default" ? "" : ` --project ${one.project}`;
    const mend = one.isReplaced
      ? `Name ${one.of} under hosts.${host}.optIn.removeParked, then npm run up`
      : `There is no ${one.of} that took over from it, so it may be the only copy: incus rename ${one.name} ${one.of}${project}`;
    return {
      severity: days >= LONG || !one.isReplaced ? "warning" : "note",
      rule: "parked",
      object: `container ${one.project === "default" ? "" : `${one.project}/`}${one.name}`,
      what: `parked ${days === 1 ? "1 day" : `${days} days`} ago for ${one.of} (${one.reason}), ${size} on pool ${one.pool}`,
      mend,
    };
  });
  const unmeasured = filesReadable ? [] : parked;
  return {
    findings,
    notLookedAt: unmeasured.map(({ name }) => ({ object: `container ${name}: size`, why: OUT_OF_REACH })),
  };
}
