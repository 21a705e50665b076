const UNITS: Record<string, number> = {
  "": 1,
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
};

/** A size as Incus writes it: a whole number with an optional unit (`50GiB`, `512MiB`, `2GB`). */
export const BYTES_PATTERN = /^(\d{1,15})\s?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)?$/;

/** Parses such a size to bytes; undefined where it is none. */
export function parseBytes(text: string): number | undefined {
  const match = BYTES_PATTERN.exec(text);
  if (!match) return undefined;
  const bytes = Number(match[1]) * (UNITS[match[2] ?? ""] ?? Number.NaN);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Bytes for people: `1.4 GiB`, `512 MiB`, `930 B`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

/** Bytes as Incus takes them, in the largest unit that is exact: 2147483648 is `2GiB`. */
export function incusSize(bytes: number): string {
  for (const unit of ["TiB", "GiB", "MiB", "KiB"]) {
    const factor = UNITS[unit] ?? 1;
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return `${bytes}B`;
}
