import type { IncusClient } from "./client.ts";
import type { RequestOptions } from "./requests.ts";
import { Project, Server } from "./schemas.ts";

/** GET /1.0 */
export function getServer(client: IncusClient): Promise<Server> {
  return client.get("/1.0", Server, { deadline: 15_000 });
}

/** All projects. */
export function listProjects(client: IncusClient): Promise<Project[]> {
  return client.list("/1.0/projects", Project, { query: { recursion: 1 } });
}

/** A host's clock against ours, in milliseconds. */
export interface ClockLook {
  /** How far it is ahead, as near as `within`. */
  ahead: number;
  within: number;
}

/** Compares the host's clock with ours by the time in an answer, which has whole seconds. */
export async function readClock(client: IncusClient, options: RequestOptions = {}): Promise<ClockLook> {
  const sent = Date.now();
  const { headers, body } = await client.requests.stream("/1.0", options);
  const received = Date.now();
  await body.dump();
  const theirs = Date.parse(String(headers["date"] ?? "")) + 500;
  return { ahead: theirs - (sent + received) / 2, within: (received - sent) / 2 + 500 };
}
