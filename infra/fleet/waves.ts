import type { Wave } from "./schema.ts";

/** What a wave lets happen and waits for. Times in ms. */
export type WaveRules = Pick<Wave, "maxFailed" | "countsAsFailed" | "wait" | "health" | "healthTimeout">;

/** A wave with its hosts. */
export interface FleetWave extends WaveRules {
  hosts: string[];
}

const REST: WaveRules = {
  ...{ maxFailed: 0, countsAsFailed: [], wait: undefined, health: undefined, healthTimeout: 300_000 },
};

/**
 * Puts every host into exactly one wave, in the order of the file. A host goes with the first wave that takes it; the
 * last wave is repeated until all have theirs where it is by count or percent, else the others are one wave more.
 * A wave whose hosts have all gone with earlier ones stays, empty. Without waves all hosts are one, in which any number
 * may fail. Pure.
 */
export function partition(
  hosts: readonly { name: string; tags: readonly string[] }[],
  waves: readonly Wave[],
): FleetWave[] {
  if (waves.length === 0) return [{ ...REST, maxFailed: hosts.length, hosts: hosts.map(({ name }) => name) }];
  const left = [...hosts];
  const take = ({ hosts: named, tag, count, percent, ...rules }: Wave): FleetWave => {
    const size = count ?? (percent === undefined ? hosts.length : Math.ceil((hosts.length * percent) / 100));
    const taken = left
      .filter((host) => named?.includes(host.name) ?? (tag === undefined || host.tags.includes(tag)))
      .slice(0, size);
    for (const host of taken) left.splice(left.indexOf(host), 1);
    return { ...rules, hosts: taken.map(({ name }) => name) };
  };
  const made = waves.map(take);
  const last = waves.at(-1);
  while (last && left.length > 0) {
    const repeats = last.count !== undefined || last.percent !== undefined;
    made.push(repeats ? take(last) : { ...REST, hosts: left.splice(0).map(({ name }) => name) });
  }
  return made;
}
