import { lstat, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { IncusDaemon } from "../testbed/daemon.ts";
import { AGENT, AGENT_FILE } from "./host.ts";
import type { Fault } from "./judge.ts";
import type { AgentStory } from "./story.ts";

type Shown = {
  name: string;
  status: string;
  config: Record<string, string>;
  expanded_devices: Record<string, Record<string, string>>;
};

/** Whether the stack's own agent is what the config says. */
export async function judgeAgent(d: IncusDaemon, wanted: AgentStory): Promise<Fault[]> {
  const found = (await d.query<Shown[]>("/1.0/instances?recursion=1")).find(({ name }) => name === AGENT);
  const stuck = (what: string): Fault => ({ kind: "stuck", what: `agent ${AGENT} ${what}` });
  if (!wanted.declared) return found ? [stuck("is there, though no config names it")] : [];
  if (!found) return [stuck("is not there")];
  const faults: Fault[] = [];
  const expect = (what: string, is: unknown, wish: unknown): void => {
    if (is !== wish)
      faults.push(stuck(`has ${what} ${JSON.stringify(is)} instead of ${JSON.stringify(wish)}`));
  };
  expect("status", found.status, "Running");
  expect("memory", found.config["limits.memory"] ?? "none", wanted.memory);
  expect("WORDS", found.config["environment.WORDS"] ?? "", wanted.environment);
  expect("note", found.config["user.note"] ?? "", wanted.note);
  const root = Object.values(found.expanded_devices).find(({ path }) => path === "/");
  const file = join(d.rootfs(root?.["pool"] ?? "", AGENT), AGENT_FILE);
  expect("content", await readFile(file, "utf8"), wanted.content);
  const { mode, uid, gid } = await lstat(file);
  expect("mode", `0${(mode & 0o7777).toString(8)}`, wanted.mode);
  expect("owner", `${uid % 1_000_000}:${gid % 1_000_000}`, "7:7");
  return faults;
}
