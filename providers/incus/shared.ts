import type { IncusClient } from "./client.ts";

/** How long a shared answer may be used, in milliseconds, unless this process writes to the host in between. */
const FRESH_FOR = 1_000;

interface Entry {
  generation: number;
  at: number;
  answer: Promise<unknown>;
}

const answers = new WeakMap<IncusClient, Map<string, Entry>>();

/**
 * One request per host where many resources ask for the same list at once, as they do in a refresh. An answer is
 * shared while it is on its way and for a second after, and never across a write of this process.
 */
export function shared<T>(
  client: IncusClient,
  key: string,
  request: (client: IncusClient) => Promise<T>,
  freshFor: number = FRESH_FOR,
): Promise<T> {
  const known = answers.get(client) ?? new Map<string, Entry>();
  answers.set(client, known);
  const entry = known.get(key);
  if (entry && entry.generation === client.generation && Date.now() - entry.at < freshFor) {
    return entry.answer as Promise<T>;
  }
  const answer = request(client);
  const next: Entry = { generation: client.generation, at: Date.now(), answer };
  known.set(key, next);
  // The age counts from the answer, so that a slow host is not asked again by everybody who waited.
  const settled = (): void => {
    next.at = Date.now();
  };
  answer.then(settled, settled);
  return answer;
}
