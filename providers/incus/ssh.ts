import { spawn } from "node:child_process";
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

/** Milliseconds until a login counts as failed. */
const LOGIN_DEADLINE = 20_000;
/** Commands at once over one connection: sshd allows 10 sessions (MaxSessions). */
const SESSIONS = 6;
/** Longest path of a control socket: ssh adds to it, and the kernel takes 108 characters. */
const LONGEST_PATH = 90;
/** What ssh itself ends with where it could not do what it was asked for. */
const SSH_FAILED = 255;

/** Nothing of the person's own ssh_config may start commands, terminals or forwardings beside ours. */
const OPTIONS = [
  ...["BatchMode=yes", "ClearAllForwardings=yes", "RemoteCommand=none", "RequestTTY=no"],
  ...["PermitLocalCommand=no", "ForwardAgent=no", "ForwardX11=no", "ControlPersist=no", "ConnectTimeout=10"],
  ...["ServerAliveInterval=5", "ServerAliveCountMax=3"],
].flatMap((option) => ["-o", option]);

/** Where the daemon's socket is, in the order of the Incus client. */
const SOCKETS = ["/run/incus/unix.socket", "/var/lib/incus/unix.socket"];

/** One master connection: what ends it ends all. */
interface Master {
  /** Path of the control socket. */
  control: string;
  /** The daemon's socket, forwarded here. */
  socketPath: string;
  hasEnded(): boolean;
}

/**
 * A host that is reached through the system's own OpenSSH client: one master connection for the whole run, the daemon's
 * socket forwarded over it, and commands. Host keys, keys, agents and jumps are those of ssh_config; nothing is asked.
 */
export class SshConnection {
  private readonly endpoint: SshEndpoint;
  private master: Promise<Master> | undefined;
  private end: (() => Promise<void>) | undefined;
  private said = "";

  constructor(endpoint: SshEndpoint) {
    this.endpoint = endpoint;
  }

  /** Path of a socket on this machine that leads to the daemon. A connection that has ended is made anew. @throws Error */
  async socketPath(): Promise<string> {
    return (await this.connected()).socketPath;
  }

  /** Runs a program there with the login's rights. @throws Error where the connection fails; the signal's reason */
  async run(argv: readonly string[], options: CommandOptions): Promise<CommandResult> {
    const { control } = await this.connected();
    return withSlot(`ssh:${control}`, SESSIONS, async () => {
      const command = argv.map(quoted).join(" ");
      const result = await execa("ssh", ["-S", control, ...OPTIONS, "-T", ...this.target(), command], {
        ...(options.input ? { input: options.input } : { stdin: "ignore" }),
        encoding: "buffer",
        stripFinalNewline: false,
        reject: false,
        timeout: options.timeout,
        // A client of the master holds out against others.
        killSignal: "SIGKILL",
        maxBuffer: 256 * 1024 * 1024,
        ...(options.signal ? { cancelSignal: options.signal } : {}),
      });
      options.signal?.throwIfAborted();
      const stderr = Buffer.from(result.stderr ?? []).toString();
      if (result.exitCode === SSH_FAILED && !result.timedOut) throw new Error(explain(stderr, this.endpoint));
      return {
        exitCode: result.exitCode ?? -1,
        stdout: Buffer.from(result.stdout ?? []),
        stderr,
        timedOut: result.timedOut,
      };
    });
  }

  /** Why the daemon's socket does not answer, where ssh has said it; undefined where it has not. */
  complaint(): string | undefined {
    return /open failed|refused|forward/i.test(this.said) ? explain(this.said, this.endpoint) : undefined;
  }

  /** Ends the connection. */
  async close(): Promise<void> {
    this.master = undefined;
    await this.end?.();
  }

  private async connected(): Promise<Master> {
    const current = this.master;
    const master = await current?.catch(() => undefined);
    if (master && !master.hasEnded()) return master;
    // Whoever comes meanwhile waits for the same one.
    if (this.master === current) this.master = this.open();
    return this.master ?? this.open();
  }

  private async open(): Promise<Master> {
    const place = join(tmpdir(), PREFIX).length < LONGEST_PATH - 20 ? tmpdir() : "/tmp";
    removeStale(place);
    const directory = await mkdtemp(join(place, `${PREFIX}${process.pid}-`));
    const control = join(directory, "control");
    const socketPath = join(directory, "incus");
    this.said = "";
    const [file = "ssh", ...guard] = process.platform === "linux" ? DIES_WITH_US : ["ssh"];
    const login = ["-M", "-N", "-T", "-S", control, ...OPTIONS, ...this.target()];
    const child = spawn(file, [...guard, ...login], { stdio: ["ignore", "ignore", "pipe"] });
    let ended = false;
    const isOver = new Promise<void>((resolve) => {
      const over = (): void => {
        ended = true;
        rmSync(directory, { recursive: true, force: true });
        resolve();
      };
      child.once("close", over);
      child.once("error", (error) => {
        this.said = error.message;
        over();
      });
    });
    child.stderr.on("data", (chunk: Buffer) => {
      this.said = `${this.said}${chunk}`.slice(-4_096);
    });
    // It is there for this process, and must not keep it.
    child.unref();
    if (child.stderr instanceof Socket) child.stderr.unref();
    const kill = (): void => void child.kill();
    const endAtExit = (): void => {
      kill();
      rmSync(directory, { recursive: true, force: true });
    };
    process.once("exit", endAtExit);
    this.end = async () => {
      process.off("exit", endAtExit);
      kill();
      child.ref();
      await isOver;
    };
    const state = await poll(
      async () => {
        if (ended) return "ended";
        return (await this.control(control, "check")) === 0 ? "open" : undefined;
      },
      { every: 50, deadline: LOGIN_DEADLINE },
    );
    if (state !== "open") {
      kill();
      throw new Error(
        state === "ended"
          ? explain(this.said, this.endpoint)
          : `no login within ${LOGIN_DEADLINE / 1000} s. Is the host on, and does "ssh ${this.endpoint.destination}" work?`,
      );
    }
    const remote = this.endpoint.socketPath ?? (await this.findSocket(control));
    await this.control(control, "forward", ["-L", `${socketPath}:${remote}`]);
    return { control, socketPath, hasEnded: () => ended };
  }

  private async findSocket(control: string): Promise<string> {
    const command = ["ls", ...SOCKETS].map(quoted).join(" ");
    const { stdout } = await execa("ssh", ["-S", control, ...OPTIONS, "-T", ...this.target(), command], {
      reject: false,
      stdin: "ignore",
      timeout: SHORT,
    });
    const found = stdout.split("\n");
    return SOCKETS.find((path) => found.includes(path)) ?? "/var/lib/incus/unix.socket";
  }

  private async control(control: string, request: string, flags: string[] = []): Promise<number | undefined> {
    const args = ["-S", control, "-O", request, ...flags, ...this.target()];
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

/** A killed run must not leave its connection behind. */
const DIES_WITH_US = ["setpriv", "--pdeathsig", "TERM", "--", "ssh"];

/** One argument for the shell that sshd starts on the other side. */
export function quoted(argument: string): string {
  if (argument.includes("\0")) throw new RangeError("an argument cannot hold a zero byte");
  return `'${argument.replaceAll("'", `'\\''`)}'`;
}

/** What ssh said, in one sentence with the way out. */
export function explain(said: string, { destination, socketPath }: SshEndpoint): string {
  const user = destination.includes("@") ? (destination.split("@")[0] ?? "") : "the login";
  const known: [RegExp, string][] = [
    [
      /REMOTE HOST IDENTIFICATION HAS CHANGED/,
      `it shows another host key than the known one. If it was set up anew: ssh-keygen -R HOST, and ssh ${destination} to look at the new key`,
    ],
    [
      /Host key verification failed/,
      `its host key is not known here. Look at it and accept it: ssh ${destination}`,
    ],
    [
      /Permission denied \(/,
      `the login was refused. Give it a key: ssh-copy-id ${destination}; a key with a passphrase belongs into ssh-agent`,
    ],
    [
      /Could not resolve hostname/,
      "its name does not resolve. Correct it, or give it a Host entry in ~/.ssh/config",
    ],
    [
      /connect failed: Permission denied|open failed.*Permission denied/,
      `${user} may not open the daemon's socket there. On the host: sudo usermod -aG incus-admin ${user === "the login" ? "USER" : user}`,
    ],
    [
      /administratively prohibited|Forwarding.*(disabled|refused)/,
      "its sshd forbids to forward sockets. Allow it there: AllowStreamLocalForwarding yes (and no restrict in authorized_keys)",
    ],
    [
      /connect failed: (No such file|Connection refused)/,
      `no Incus answers at ${socketPath ?? "the daemon's socket"} there. Is it installed and running?`,
    ],
    [
      // OpenSSH before 9.4 gives no reason.
      /connect failed: open failed/,
      `${socketPath ?? "the daemon's socket"} does not open there: no Incus runs, ${user} has no right to it (sudo usermod -aG incus-admin ${user === "the login" ? "USER" : user}), or sshd forbids to forward sockets (AllowStreamLocalForwarding yes allows it)`,
    ],
    [/Connection refused/, "nothing answers at its ssh port. Is it on, and is the port right?"],
    [/timed out|No route to host|Network is unreachable/, "it does not answer. Is it on, and in reach?"],
  ];
  const found = known.find(([pattern]) => pattern.test(said))?.[1];
  const [line = "ssh ended"] = said.trim().split("\n").filter(Boolean).slice(-1);
  return found ?? `${line.trim().slice(0, 300)}. Does "ssh ${destination}" work?`;
}
