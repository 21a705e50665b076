/** Incus allows 63 characters in an instance name. */
const LONGEST_NAME = 63;

/**
 * Name of the parked source: `mary-parked-2f47f9a1`. Derived from name and `volatile.uuid` alone, so every run on
 * every machine finds the same one.
 */
export function parkedName(name: string, uuid: string): string {
  return withSuffix(name, `-parked-${shortened(uuid)}`);
}

/** Name of the copy while it is being filled: `mary-copy-2f47f9a1`. */
export function copyName(name: string, uuid: string): string {
  return withSuffix(name, `-copy-${shortened(uuid)}`);
}

/** Name of what a migration that was undone had made, with all that was written since: `mary-undone-2f47f9a1`. */
export function undoneName(name: string, uuid: string): string {
  return withSuffix(name, `-undone-${shortened(uuid)}`);
}

function shortened(uuid: string): string {
  const digits = uuid.replaceAll(/[^0-9a-f]/g, "").slice(0, 8);
  if (digits.length < 8) throw new RangeError(`not a uuid: ${uuid}`);
  return digits;
}

function withSuffix(name: string, suffix: string): string {
  return `${name.slice(0, LONGEST_NAME - suffix.length)}${suffix}`;
}
