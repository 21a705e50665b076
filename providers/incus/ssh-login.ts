import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { type CommandOptions, type CommandResult, SHORT } from "../common/command.ts";
import { poll } from "../common/poll.ts";
import { withSlot } from "../common/slots.ts";
import type { SshEndpoint } from "./connection.ts";
import { explain } from "./ssh-said.ts";

/** Milliseconds until a login counts as failed. */
const LOGIN_DEADLINE = 20_000;
/** Longest path of a control socket: ssh adds to it, and the kernel takes 108 characters. */
const LONGEST_PATH = 90;
/** What ssh itself ends with where it could not do what it was asked for. */
const SSH_FAILED = 255;
/** Commands at once: sshd allows 10 sessions (MaxSessions). */
const COMMANDS = 6;
/** The same where others of these sessions lead to the daemon. */
const COMMANDS_BESIDE_PROXIES = 3;

/** Nothing of the person's own ssh_config may start commands, terminals or forwardings beside ours. */
const OPTIONS = [
  ...["BatchMode=yes", "ClearAllForwardings=yes", "RemoteCommand=none", "RequestTTY=no"],
  ...["PermitLocalCommand=no", "ForwardAgent=no", "ForwardX11=no", "ControlPersist=no", "ConnectTimeout=10"],
  ...["ServerAliveInterval=5", "ServerAliveCountMax=3"],
].flatMap((option) => ["-o", option]);

/** What goes over the master goes nowhere else: without this ssh would log in anew where the master refuses. */
const ONLY_BY_MASTER = ["-o", "ProxyCommand=false"];

/** A killed run must not leave its connection behind. */
const DIES_WITH_US = ["setpriv", "--pdeathsig", "TERM", "--", "ssh"];

/** One login by the system's own OpenSSH client: a master connection, and what goes over it. What ends it ends all. */
export class SshLogin {
  /** A folder that only we can read; it goes with the login. */
  readonly directory: string;
  /** Resolves when it has ended. */
  readonly isOver: Promise<void>;
  hasEnded = false;
  /** Whether sessions lead to the daemon, so that fewer are left for commands. */
  hasProxies = false;
  private readonly endpoint: SshEndpoint;
  private readonly control: string;
  private readonly kill: () => void;
  private text = "";

  private constructor(endpoint: SshEndpoint, directory: string) {
    this.endpoint = endpoint;
    this.directory = directory;
    this.control = join(directory, "control");
    const [file = "ssh", ...guard] = process.platform === "linux" ? DIES_WITH_US : ["ssh"];
    const login = ["-M", "-N", "-T", "-S", this.control, ...OPTIONS, ...this.target()];
    const child = spawn(file, [...guard, ...login], { stdio: ["ignore", "ignore", "pipe"] });
    // It is there for this process, and must not keep it.
    child.unref();
    if (child.stderr instanceof Socket) child.stderr.unref();
    child.stderr.on("data", (chunk: Buffer) => this.hear(chunk));
    const endAtExit = (): void => {
      child.kill();
      rmSync(directory, { recursive: true, force: true });
    };
    process.once("exit", endAtExit);
    this.isOver = new Promise((resolve) => {
      const over = (): void => {
        this.hasEnded = true;
        process.off("exit", endAtExit);
        rmSync(directory, { recursive: true, force: true });
        resolve();
      };
      child.once("close", over);
      child.once("error", (error) => {
        this.hear(error.message);
        over();
      });
    });
    this.kill = () => {
      child.ref();
      child.kill();
    };
  }

  /** Logs in. @throws Error with the reason in one sentence and the way out */
  static async open(endpoint: SshEndpoint): Promise<SshLogin> {
    const place = join(tmpdir(), PREFIX).length < LONGEST_PATH - 20 ? tmpdir() : "/tmp";
    removeStale(place);
    const login = new SshLogin(endpoint, await mkdtemp(join(place, `${PREFIX}${process.pid}-`)));
    const state = await poll(
      async () => {
        if (login.hasEnded) return "ended";
        return (await login.ask("check")) === 0 ? "open" : undefined;
      },
      { every: 50, deadline: LOGIN_DEADLINE },
    );
    if (state === "open") return login;
    login.kill();
    throw new Error(
      state === "ended"
        ? explain(login.text, endpoint)
        : `no login within ${LOGIN_DEADLINE / 1000} s. Is the host on, and does "ssh ${endpoint.destination}" work?`,
    );
  }

  /** The last of what ssh and the programs that lead to the daemon have said. */
  get said(): string {
    return this.text;
  }

  /** Forgets what was said: it belongs to a way that is not taken. */
  forget(): void {
    this.text = "";
  }

  hear(text: Buffer | string): void {
    this.text = `${this.text}${text}`.slice(-4_096);
  }

  /** Runs a program there with the login's rights. @throws Error where the connection fails; the signal's reason */
  run(argv: readonly string[], options: CommandOptions): Promise<CommandResult> {
    const limit = this.hasProxies ? COMMANDS_BESIDE_PROXIES : COMMANDS;
    return withSlot(`ssh:${this.control}`, limit, async () => {
      const input = options.stream ?? options.input;
      const subprocess = execa("ssh", this.session(argv), {
        ...(input ? { input } : { stdin: "ignore" }),
        encoding: "buffer",
        stripFinalNewline: false,
        reject: false,
        timeout: options.timeout,
        // A client of the master holds out against others.
        killSignal: "SIGKILL",
        maxBuffer: 256 * 1024 * 1024,
        ...(options.signal ? { cancelSignal: options.signal } : {}),
      });
      subprocess.stdout?.on("data", (chunk: Buffer) => options.onOutput?.(chunk.toString()));
      const result = await subprocess;
      options.signal?.throwIfAborted();
      const stderr = Buffer.from(result.stderr ?? []).toString();
      if (result.exitCode === SSH_FAILED && !result.timedOut)
        throw new Error(explain(this.hasEnded ? this.text : stderr, this.endpoint));
      return {
        exitCode: result.exitCode ?? -1,
        stdout: Buffer.from(result.stdout ?? []),
        stderr,
        timedOut: result.timedOut,
      };
    });
  }

  /** Starts a program there that talks by its standard input and output. */
  start(argv: readonly string[]): ChildProcessWithoutNullStreams {
    return spawn("ssh", this.session(argv), { stdio: "pipe" });
  }

  /** Has a socket here lead to one there. */
  async forward(local: string, remote: string): Promise<void> {
    await this.ask("forward", ["-L", `${local}:${remote}`]);
  }

  async cancelForward(local: string, remote: string): Promise<void> {
    await this.ask("cancel", ["-L", `${local}:${remote}`]);
    rmSync(local, { force: true });
  }

  async close(): Promise<void> {
    this.kill();
    await this.isOver;
  }

  private session(argv: readonly string[]): string[] {
    const command = argv.map(quoted).join(" ");
    return ["-S", this.control, ...OPTIONS, ...ONLY_BY_MASTER, "-T", ...this.target(), command];
  }

  private async ask(request: string, flags: string[] = []): Promise<number | undefined> {
    const args = ["-S", this.control, "-O", request, ...flags, ...this.target()];
    const { exitCode } = await execa("ssh", args, { reject: false, stdin: "ignore", timeout: SHORT });
    return exitCode;
  }

  private target(): string[] {
    const { destination, port } = this.endpoint;
    return [...(port === undefined ? [] : ["-p", String(port)]), "--", destination];
  }
}

/** Folders of the connections of a process: named by its number, so that what a killed one left is found. */
const PREFIX = "taos-ssh-";

function removeStale(place: string): void {
  if (process.platform !== "linux") return;
  for (const name of readdirSync(place)) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    try {
      rmSync(join(place, name), { recursive: true, force: true });
    } catch {
      // Another user's.
    }
  }
}

/** One argument for the shell that sshd starts on the other side. */
export function quoted(argument: string): string {
  if (argument.includes("\0")) throw new RangeError("an argument cannot hold a zero byte");
  return `'${argument.replaceAll("'", `'\\''`)}'`;
}
