import { randomUUID } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { execa } from "execa";
import { until } from "../testbed/deadline.ts";
import { projectRoot } from "./cli.ts";

/** A command of the CLI on its way. */
export type PulumiRun = {
  readonly result: Promise<{ exitCode: number | undefined; output: string }>;
  /** Ids of the CLI's own and all processes it started (language host, program, provider) that are alive. */
  processes(): Promise<number[]>;
  /** Those of them that are the dynamic provider. */
  providers(): Promise<number[]>;
  /** Kills the CLI alone with SIGKILL; its provider has to notice by itself. */
  killCli(): void;
  /** Kills the dynamic provider with SIGKILL; the CLI sees a broken connection. */
  killProvider(): Promise<void>;
  /** Ends whatever is left of it, and waits for its end. */
  cleanUp(): Promise<void>;
};

/** Every process of a run carries its id in the environment, which children inherit. */
const RUN_ID = "TAOS_HOSTS_RUN_ID";

/** Starts a command, `pulumi` and its arguments; killed with all it started after `timeoutMs`. */
export function startRun(
  [file = "", ...args]: string[],
  env: Record<string, string>,
  timeoutMs: number,
): PulumiRun {
  const id = randomUUID();
  const child = execa(file, args, {
    cwd: projectRoot,
    env: { ...env, [RUN_ID]: id },
    extendEnv: false,
    stdin: "ignore",
    all: true,
    reject: false,
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  const processes = (): Promise<number[]> => processesWith(`${RUN_ID}=${id}`);
  const providers = async (): Promise<number[]> => {
    const pids = await processes();
    const commands = await Promise.all(pids.map(commandOf));
    return pids.filter((_pid, index) => commands[index]?.includes("cmd/dynamic-provider"));
  };
  const cleanUp = async (): Promise<void> => {
    await until(
      async () => {
        const left = await processes();
        for (const pid of left) kill(pid);
        return left.length === 0;
      },
      { what: `the processes of ${file} ${args[0]} to end`, deadlineMs: 10_000 },
    );
  };
  const result = child.then(async ({ exitCode, all, timedOut }) => {
    if (!timedOut) return { exitCode, output: all };
    await cleanUp();
    throw new Error(`${file} ${args[0]} did not end within ${timeoutMs} ms:\n${all}`);
  });
  // Whoever kills a run may never look at its result.
  result.catch(() => undefined);
  return {
    result,
    processes,
    killCli: () => void child.kill("SIGKILL"),
    providers,
    async killProvider() {
      for (const pid of await providers()) kill(pid);
    },
    cleanUp,
  };
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself in between.
  }
}

/** Arguments of a process, separated by spaces; empty where it is gone. */
export async function commandOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  return text.replaceAll("\0", " ").trim();
}

/** Ids of the processes with an entry such as `NAME=value` in their environment. */
export async function processesWith(entry: string): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(
    pids.map(async (pid) => {
      const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
      return environment.split("\0").includes(entry) ? [pid] : [];
    }),
  );
  return found.flat();
}
