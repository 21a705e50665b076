import { readFileSync } from "node:fs";
import type { InstanceFile } from "@taos-hosts/providers";
import type { AgentConfig } from "./config.ts";

/** Files of an agent with their text: `source` paths have been checked and made absolute by then. */
export function agentFiles(files: AgentConfig["files"]): InstanceFile[] {
  return files.map(({ path, content, source, uid, gid, mode }) => ({
    path,
    content: content ?? (source === undefined ? "" : readFileSync(source, "utf8")),
    uid,
    gid,
    mode,
  }));
}
