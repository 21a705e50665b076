import { z } from "zod";

/** The taOS worker's own pool: reported, never adopted or touched. */
export const WORKER_POOL = "taos-worker-pool";

/** Name of the copy-on-write pool beside a `dir` pool. */
export function cowName(pool: string): string {
  return `${pool}-cow`;
}

/**
 * The strict rule of Incus main (shared/validate, IsAPIName) also for older daemons, whose own check lets `..` and
 * `-x` pass: at most 64 characters, starts and ends alphanumeric, none of dollar, question mark, ampersand,
 * plus, quotes, backquote, star, slash, and no white space.
 */
export const PoolName = z
  .string()
  .max(64, "must have at most 64 characters")
  .regex(
    /^[A-Za-z0-9]([^\s$?&+"'`*/:]*[A-Za-z0-9])?$/,
    "must start and end with a letter or digit and hold none of $ ? & + \" ' ` * / : or white space",
  )
  .refine((name) => name !== WORKER_POOL, "belongs to the taOS worker and is never touched");

/** Instance names (Incus: RFC 1123 label): 1–63 of letters, digits, dashes; no dash at either end; not all digits. */
export const InstanceName = z
  .string()
  .max(63, "must have at most 63 characters")
  .regex(
    /^[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?$|^(?=.*[A-Za-z-])[0-9][A-Za-z0-9-]*[A-Za-z0-9]$/,
    "must be letters, digits and dashes, start and end with a letter or digit, and not be all digits",
  );

/** Profile, project, network and device names: no slash, no white space, not `.` or `..`. */
export const ObjectName = z
  .string()
  .max(64, "must have at most 64 characters")
  .regex(/^(?!\.{1,2}$)[^\s/:?#%"'`*\\]+$/, "must hold no white space and none of / : ? # % \" ' ` * \\");

/** Image aliases may hold slashes (`debian/13`). */
export const ImageAliasName = z
  .string()
  .max(255, "must have at most 255 characters")
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._/-]*$/,
    "must be letters, digits and . _ / - and start with a letter or digit",
  );

/** The names nearest to a wrong one, by edit distance and shared prefix, for error messages; nearest first. */
export function nearestNames(wrong: string, names: readonly string[], count = 3): string[] {
  const wanted = wrong.toLowerCase();
  return names
    .map((name) => {
      const known = name.toLowerCase();
      const related = known.includes(wanted) || wanted.includes(known);
      return { name, distance: related ? 0.5 : editDistance(wanted, known) };
    })
    .filter(({ name, distance }) => distance <= Math.max(2, Math.ceil(name.length / 2)))
    .sort((a, b) => a.distance - b.distance || a.name.localeCompare(b.name))
    .slice(0, count)
    .map(({ name }) => name);
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
