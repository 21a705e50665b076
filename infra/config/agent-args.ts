import { agentFiles } from "./agent-files.ts";
import type { AgentConfig } from "./config.ts";

/** What an agent's entry says of its instance, as the provider takes it. */
export function instanceArgs(agent: AgentConfig) {
  const {
    image,
    memory,
    cpu,
    disk,
    idmapUid,
    environment,
    config,
    devices,
    files,
    ready,
    profiles,
    project,
    secretProps,
  } = agent;
  return {
    image,
    project,
    profiles,
    config,
    devices,
    environment,
    protected: agent.protected,
    files: agentFiles(files),
    ready: typeof ready === "string" ? ready : { command: ready.command },
    ...(typeof ready === "string" ? {} : { readyTimeout: ready.timeout }),
    ...(secretProps === undefined ? {} : { secretProps }),
    ...(memory === undefined ? {} : { memory }),
    ...(cpu === undefined ? {} : { cpu }),
    ...(disk === undefined ? {} : { disk }),
    ...(idmapUid === undefined ? {} : { idmapUid }),
  };
}
