import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import type { InstanceFile } from "@taos-hosts/providers";
import type { AgentConfig } from "./config.ts";

/** What an agent's entry says of its instance, as the provider takes it. */
export function instanceArgs({ files, ready, pool, health, stopTimeout, ...same }: AgentConfig) {
  return {
    ...same,
    files: agentFiles(files),
    ready: typeof ready === "string" ? ready : { command: ready.command },
    readyTimeout: typeof ready === "string" ? undefined : ready.timeout,
  };
}

/** Files of an agent with their content: `source` paths have been checked and made absolute by then. */
export function agentFiles(files: AgentConfig["files"]): InstanceFile[] {
  return files.map(({ content = "", source, ...same }) => ({
    ...same,
    ...(source === undefined ? { content } : bytesOf(source)),
  }));
}

/** Bytes that are text stay text, as states of 0.1 have them; all others would not survive as that. */
function bytesOf(source: string): Pick<InstanceFile, "content" | "contentBase64"> {
  const bytes = readFileSync(source);
  return isUtf8(bytes) ? { content: bytes.toString("utf8") } : { contentBase64: bytes.toString("base64") };
}
