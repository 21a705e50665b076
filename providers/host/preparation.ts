import { userInfo } from "node:os";
import { type CommandOptions, type CommandResult, SHORT } from "../common/command.ts";
import { messageOf, UnreachableError, VisibleError } from "../common/errors.ts";
import type { IncusClient } from "../incus/client.ts";
import { localMachine } from "./local-machine.ts";
import type { HostLook } from "./look.ts";
import type { HostMachine } from "./machine.ts";
import { newHostLook } from "./new-host.ts";
import { openSshMachine } from "./ssh-machine.ts";

/** What a host is prepared with. */
export interface PrepareWish {
  /** Where Incus listens, as in `core.https_address`. */
  httpsAddress?: string | undefined;
}

/** What preparing a host would do. */
export interface PreparationLook {
  /** A line for each thing; none where the host is prepared. */
  lines: string[];
  /** What there is once Incus is installed; null where it has been there before, or is there now. */
  newHost: HostLook | null;
}

/** Milliseconds to install Incus on a slow board over a slow link. */
const PREPARE_DEADLINE = 30 * 60_000;

/** Its database: where there is one, Incus finds again what it had. */
const DATABASE = "/var/lib/incus/database";

/**
 * Says what preparing a host would do, without a write.
 * @param script text of script/prepare
 * @throws VisibleError where the host is out of reach, or something is to do and the login cannot become root
 */
export async function lookAtPreparation(
  client: IncusClient,
  script: string,
  wish: PrepareWish,
  options: { deadline: number; signal?: AbortSignal | undefined },
): Promise<PreparationLook> {
  const reach = await reachOf(client);
  const dryRun = { timeout: options.deadline, signal: options.signal };
  const lines = linesOf(client, await runScript(reach, script, ["--dry-run"], wish, dryRun));
  if (lines.length === 0) return { lines, newHost: null };
  if (!reach.machine) throw notRoot(client, lines);
  const isNew = !(await reach.machine.exists(DATABASE));
  return { lines, newHost: isNew ? await newHostLook(reach.machine) : null };
}

/**
 * Prepares a host.
 * @param onOutput gets each thing that is done, as text that ends with a newline
 * @throws VisibleError with what failed and the way out
 */
export async function prepareHost(
  client: IncusClient,
  script: string,
  wish: PrepareWish,
  onOutput: (text: string) => void,
): Promise<void> {
  const reach = await reachOf(client);
  if (!reach.machine) throw notRoot(client, []);
  linesOf(client, await runScript(reach, script, [], wish, { timeout: PREPARE_DEADLINE, onOutput }));
  const left = linesOf(client, await runScript(reach, script, ["--dry-run"], wish, { timeout: SHORT * 3 }));
  if (left.length === 0) return;
  throw new VisibleError(
    `Host "${client.host.name}" was prepared, and this is still to do: ${left.join("; ")}. Look at it there; something may take it back.`,
  );
}

/** A way to run the script: as root, else with the rights of the login, which do for a dry run. */
interface Reach {
  machine: HostMachine | undefined;
  run: (argv: readonly string[], options: CommandOptions) => Promise<CommandResult>;
  /** Who is to get the right to the daemon's socket; undefined for root. */
  user: string | undefined;
}

async function reachOf({ endpoint, ssh, host }: IncusClient): Promise<Reach> {
  if (endpoint.kind === "unix") {
    const isRoot = process.getuid?.() === 0;
    return {
      machine: isRoot ? localMachine : undefined,
      run: localMachine.run,
      user: isRoot ? undefined : userInfo().username,
    };
  }
  if (!ssh)
    throw new VisibleError(`Host "${host.name}" is prepared over ssh only: connection ssh://user@host.`);
  try {
    const machine = await openSshMachine(ssh);
    const { stdout } = await ssh.run(["id", "-un"], { timeout: SHORT });
    const login = stdout.toString().trim();
    const run = machine?.run ?? ((argv, options) => ssh.run(argv, options));
    return { machine, run, user: login === "root" ? undefined : login };
  } catch (error) {
    if (error instanceof VisibleError) throw error;
    throw new UnreachableError(
      `Host "${host.name}" cannot be reached over ${host.connection}: ${messageOf(error)}.`,
      { cause: error },
    );
  }
}

function runScript(
  { run, user }: Reach,
  script: string,
  flags: readonly string[],
  { httpsAddress }: PrepareWish,
  options: CommandOptions,
): Promise<CommandResult> {
  const wish = [
    ...(user === undefined ? [] : ["--user", user]),
    ...(httpsAddress === undefined ? [] : ["--https-address", httpsAddress]),
  ];
  return run(["sh", "-s", "--", ...flags, ...wish], { ...options, input: Buffer.from(script) });
}

function linesOf(client: IncusClient, { exitCode, stdout, stderr, timedOut }: CommandResult): string[] {
  if (exitCode === 0) return stdout.toString().split("\n").filter(Boolean);
  const said = stderr.trim().split("\n");
  const reason = said.findLast((line) => line.startsWith("error: "))?.slice("error: ".length);
  const why = timedOut
    ? "it did not end in time; what it began goes on there. Run this again"
    : (reason ?? said.at(-1)) || `it ended with ${exitCode}`;
  throw new VisibleError(`Host "${client.host.name}" could not be prepared: ${why}`);
}

function notRoot(client: IncusClient, lines: readonly string[]): VisibleError {
  const todo = lines.length === 0 ? "" : ` This is to do: ${lines.join("; ")}.`;
  const way =
    client.endpoint.kind === "unix"
      ? "Run script/setup incus first, or this as root"
      : "Log in as root, or allow the login sudo without a password";
  return new VisibleError(`Host "${client.host.name}" is not prepared, and that needs root. ${way}.${todo}`);
}
