import { diffManifests, type Manifest } from "../testbed/manifest.ts";
import { engineOwner, type Hands, isHalfCopy } from "./hand.ts";
import { AGENT } from "./host.ts";
import type { SeenInstance, World } from "./world.ts";

/** `lost`: content or settings gone. `touched`: something outside the opt-ins. `stuck`: not settled. `noisy`: said is not done. */
export type FaultKind = "lost" | "touched" | "stuck" | "noisy";
export type Fault = { kind: FaultKind; what: string };

/** What the judge remembers of a container that some opt-in names or named. */
export type Memory = { seen: SeenInstance; status: string };

export type Case = {
  hands: Hands;
  /** Containers that an opt-in named in this run or an earlier one, `project/name`. */
  involved: ReadonlySet<string>;
  /** Those whose parked source this run may delete. */
  removable: ReadonlySet<string>;
  /** Those that this run may put back. */
  undone: ReadonlySet<string>;
  /** Each involved container as it was when last seen whole. */
  memories: ReadonlyMap<string, Memory>;
  before: World;
  after: World;
  /** Whether the run ended by itself and nothing may be under way any more. */
  settled: boolean;
  /** Whether a run may re-point profiles: some container moves or has moved. */
  mayRepoint: boolean;
};

/** What is wrong after a run; empty where it kept its word. */
export function judge(one: Case): Fault[] {
  return [...judgeOthers(one), ...judgeObjects(one), ...judgeInvolved(one), ...judgeParked(one)];
}

/** Instances that no opt-in is about. */
function judgeOthers({ hands, involved, before, after }: Case): Fault[] {
  const faults: Fault[] = [];
  const touched = (what: string): void => void faults.push({ kind: "touched", what });
  const isOther = (one: SeenInstance): boolean => {
    const owner = engineOwner(hands, one) ?? one.ref;
    return !involved.has(owner) && one.name !== AGENT;
  };
  for (const was of before.instances.values()) {
    if (!isOther(was)) continue;
    const is = after.instances.get(was.ref);
    if (!is) {
      touched(`${was.ref} is gone`);
      continue;
    }
    if (is.status !== was.status) touched(`${was.ref} was ${was.status} and is ${is.status}`);
    else if (is.pid !== was.pid) touched(`${was.ref} was started anew`);
    if (is.whole !== was.whole) touched(`${was.ref}: ${firstDifference(was.whole, is.whole)}`);
    for (const line of differences(was, is)) touched(`${was.ref}: ${line}`);
  }
  for (const is of after.instances.values())
    if (isOther(is) && !before.instances.has(is.ref)) touched(`${is.ref} has appeared`);
  if (before.shared !== after.shared) touched("the host's directory that containers share");
  return faults;
}

function judgeObjects({ before, after, mayRepoint }: Case): Fault[] {
  const faults: Fault[] = [];
  for (const [name, was] of before.objects) {
    const is = after.objects.get(name);
    if (is === was) continue;
    if (is === undefined) {
      if (!/^storage-pools .*-cow$/.test(name)) faults.push({ kind: "touched", what: `${name} is gone` });
      continue;
    }
    const pointed = was.replaceAll('"pool":"default"', '"pool":"default-cow"');
    if (name.startsWith("profiles ") && mayRepoint && is === pointed) continue;
    faults.push({ kind: "touched", what: `${name}: ${firstDifference(was, is)}` });
  }
  return faults;
}

/** Containers that opt-ins are about: all data at every instant, everything as it was in the end. */
function judgeInvolved({ hands, memories, undone, after, settled }: Case): Fault[] {
  const faults: Fault[] = [];
  for (const [ref, { seen, status }] of memories) {
    const is = after.instances.get(ref);
    const holders = [...after.instances.values()].filter(
      (one) => one.ref === ref || engineOwner(hands, one) === ref,
    );
    if (!holders.some((one) => differences(seen, one).length === 0)) {
      const closest = is ? differences(seen, is).slice(0, 5).join("; ") : "nothing has its name";
      faults.push({ kind: "lost", what: `${ref}: no instance holds all of it: ${closest}` });
    }
    if (!settled) continue;
    if (!is) {
      faults.push({ kind: "stuck", what: `${ref} is gone; there are ${holders.map((one) => one.ref)}` });
      continue;
    }
    if (is.status !== status && !hands.undecided.has(ref))
      faults.push({ kind: "stuck", what: `${ref} was ${status} and is ${is.status}` });
    if (undone.has(ref)) continue;
    const [first] = differences(seen, is);
    if (first !== undefined) faults.push({ kind: "lost", what: `${ref}: ${first}` });
    if (is.kept !== seen.kept)
      faults.push({ kind: "lost", what: `${ref}: ${firstDifference(seen.kept, is.kept)}` });
  }
  if (settled) faults.push(...judgeLeftovers(hands, after));
  return faults;
}

function judgeLeftovers(hands: Hands, after: World): Fault[] {
  const faults: Fault[] = [];
  for (const one of after.instances.values()) {
    if (isHalfCopy(hands, one)) faults.push({ kind: "stuck", what: `${one.ref} is left over` });
    // What hands copied carries the marks of what it was copied from.
    if (hands.made.has(one.ref)) continue;
    const marks = Object.keys(one.config).filter((key) => /^user\.taos\.(migration|lease)$/.test(key));
    if (marks.length > 0) faults.push({ kind: "stuck", what: `${one.ref} still has ${marks.join(", ")}` });
  }
  return faults;
}

/** Kept sources: their content stays somewhere until removeParked names the container. */
function judgeParked({ hands, before, after, removable }: Case): Fault[] {
  const faults: Fault[] = [];
  for (const was of before.instances.values()) {
    const owner = engineOwner(hands, was);
    if (owner === undefined || isHalfCopy(hands, was) || removable.has(owner)) continue;
    const holders = [...after.instances.values()].filter(
      (one) => one.ref === was.ref || one.ref === owner || engineOwner(hands, one) === owner,
    );
    if (holders.some((one) => differences(was, one).length === 0)) continue;
    const is = after.instances.get(was.ref);
    const closest = is ? differences(was, is).slice(0, 5).join("; ") : "it is gone";
    faults.push({ kind: "lost", what: `${was.ref}, kept for ${owner}: ${closest}` });
  }
  return faults;
}

/** What of the content of one is not, or not equal, in the other: root and snapshots. */
export function differences(was: SeenInstance, is: SeenInstance): string[] {
  const lines: string[] = [];
  for (const [key, tree] of was.contents) {
    const label = key === "" ? "root" : `snapshot ${key}`;
    const other = is.contents.get(key);
    if (!other) lines.push(`${label} is not in ${is.ref}`);
    else if (was.digests.get(key) !== is.digests.get(key))
      lines.push(...diffManifests(tree, other as Manifest).map((line) => `${label}: ${line}`));
  }
  return lines;
}

/** A window of two texts around the first place where they differ. */
export function firstDifference(was: string, is: string): string {
  let at = 0;
  while (at < was.length && was[at] === is[at]) at++;
  const window = (text: string): string => text.slice(Math.max(0, at - 60), at + 100);
  return `…${window(was)}… is now …${window(is)}…`;
}
