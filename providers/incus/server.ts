import type { IncusClient } from "./client.ts";
import { Project, Server } from "./schemas.ts";

/** GET /1.0 */
export function getServer(client: IncusClient): Promise<Server> {
  return client.get("/1.0", Server, { deadline: 15_000 });
}

/** All projects. */
export function listProjects(client: IncusClient): Promise<Project[]> {
  return client.list("/1.0/projects", Project, { query: { recursion: 1 } });
}
