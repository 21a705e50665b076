import { formatBytes } from "../common/bytes.ts";
import type { Problem } from "../common/problem.ts";

/** Default size of a loop file and the least that is accepted, in bytes. */
const DEFAULT_LOOP_SIZE = 50 * 1024 ** 3;
export const LEAST_LOOP_SIZE = 5 * 1024 ** 3;

/**
 * The size for a new loop file: the wish, else 50 GiB or 60 % of what is free if that is less.
 * @returns bytes, or a refusal where the host has no room for it
 */
export function chooseLoopSize(wanted: number | undefined, free: number | null): { size: number } | Problem {
  if (wanted !== undefined && wanted < LEAST_LOOP_SIZE) {
    return {
      reason: `size ${formatBytes(wanted)} is too small for a loop file`,
      remedy: `Set size to at least ${formatBytes(LEAST_LOOP_SIZE)}.`,
    };
  }
  if (free === null) return { size: wanted ?? DEFAULT_LOOP_SIZE };
  const size = wanted ?? Math.min(DEFAULT_LOOP_SIZE, Math.floor((free * 0.6) / 1024 ** 2) * 1024 ** 2);
  if (size < LEAST_LOOP_SIZE || size > free) {
    return {
      reason: `${formatBytes(free)} are free on the host, ${formatBytes(Math.max(size, LEAST_LOOP_SIZE))} are needed for the loop file`,
      remedy: "Free space, set a smaller size (at least 5 GiB), or give a block device as source.",
    };
  }
  return { size };
}
