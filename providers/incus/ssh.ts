import { type CommandOptions, type CommandResult, SHORT } from "../common/command.ts";
import type { SshEndpoint } from "./connection.ts";
import { type Door, openDoor, type RootWay } from "./ssh-door.ts";
import { SshLogin } from "./ssh-login.ts";
import { explain, loginOf, sudoRefusal } from "./ssh-said.ts";

/** A login, and what was found out over it, once. */
interface Session {
  login: Promise<SshLogin>;
  /** The same, once it is there. */
  opened?: SshLogin;
  root?: Promise<RootWay>;
  door?: Promise<Door>;
}

/**
 * A host that is reached through the system's own OpenSSH client: one login for the whole run, the way to the daemon's
 * socket over it, and commands. Host keys, keys, agents and jumps are those of ssh_config; nothing is asked. A login
 * that has ended is made anew by the next use.
 */
export class SshConnection {
  private readonly endpoint: SshEndpoint;
  private session: Session | undefined;

  constructor(endpoint: SshEndpoint) {
    this.endpoint = endpoint;
  }

  /** The way to the daemon. @throws Error with the reason in one sentence and the way out */
  async door(): Promise<Door> {
    const session = await this.connected();
    const login = await session.login;
    session.door ??= openDoor(login, this.endpoint, () => this.asRoot());
    try {
      return await session.door;
    } catch (error) {
      // A group that the login gets meanwhile counts for new logins only.
      if (this.session === session) this.session = undefined;
      await login.close();
      throw error;
    }
  }

  /** Runs a program there with the login's rights. @throws Error where the connection fails; the signal's reason */
  async run(argv: readonly string[], options: CommandOptions): Promise<CommandResult> {
    return (await (await this.connected()).login).run(argv, options);
  }

  /** What goes before a command so that it runs as root there; nothing for root itself. @throws as `run` */
  async asRoot(): Promise<RootWay> {
    const session = await this.connected();
    session.root ??= rootOver(await session.login, loginOf(this.endpoint).inCommand);
    return session.root;
  }

  /** By which rights the daemon and the host's files are reached, in words. @throws as `run` */
  async reach(): Promise<string> {
    const { way } = await this.door();
    const root = await this.asRoot();
    if ("refusal" in root)
      return `over ssh: Incus by ${way}; the host's files are out of reach: ${root.refusal}`;
    return `over ssh: Incus by ${way}; the host's files ${root.prefix.length > 0 ? "by sudo -n" : "as root"}`;
  }

  /** Why the daemon's socket does not answer, where ssh has said it; undefined where it has not. */
  complaint(): string | undefined {
    const said = this.session?.opened?.said ?? "";
    return /open failed|refused|forward|connect failed/i.test(said)
      ? explain(said, this.endpoint)
      : undefined;
  }

  /** Ends the connection. */
  async close(): Promise<void> {
    const { session } = this;
    this.session = undefined;
    const login = await session?.login.catch(() => undefined);
    await login?.close();
  }

  private async connected(): Promise<Session> {
    let { session } = this;
    await session?.login.catch(() => undefined);
    if (!session?.opened || session.opened.hasEnded) {
      // Whoever comes meanwhile waits for the same one.
      if (this.session === session || !this.session) this.session = { login: SshLogin.open(this.endpoint) };
      session = this.session;
    }
    session.opened = await session.login;
    return session;
  }
}

async function rootOver(login: SshLogin, name: string): Promise<RootWay> {
  const { stdout } = await login.run(["id", "-u"], { timeout: SHORT });
  if (stdout.toString().trim() === "0") return { prefix: [] };
  const prefix = ["sudo", "-n", "--"];
  const asked = await login.run([...prefix, "true"], { timeout: SHORT });
  return asked.exitCode === 0 ? { prefix } : { refusal: sudoRefusal(asked, name) };
}
