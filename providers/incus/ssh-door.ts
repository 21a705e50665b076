import { createConnection, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { SHORT } from "../common/command.ts";
import type { SshEndpoint } from "./connection.ts";
import type { SshLogin } from "./ssh-login.ts";
import { explain, loginOf } from "./ssh-said.ts";

/** The way over a login to the daemon's socket. */
export interface Door {
  /** A socket here that leads there. */
  socketPath: string;
  /** Connections at once. */
  connections: number;
  /** In words, for the plan. */
  way: string;
}

/** Root there; or why it cannot be had. */
export type RootWay = { prefix: readonly string[] } | { refusal: string };

/** Where the daemon's socket is, in the order of the Incus client. */
const SOCKETS = ["/run/incus/unix.socket", "/var/lib/incus/unix.socket"];
const OWN_RIGHT = "the login's own right";
/** Connections by sessions of their own: sshd allows 10 sessions (MaxSessions), and commands need some. */
const PROXIES = 6;
/** Connections over a forwarded socket, which are no sessions. Waits for operations hold one each. */
const FORWARDED = 64;
/** Milliseconds in which a refused connection shows. */
const REFUSAL = 3_000;

/**
 * Joins its standard input and output with a socket; either end ends both. perl is part of every Debian and Ubuntu
 * (perl-base), where socat and nc -U are not.
 */
const JOIN = `use Socket;
socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die "socket: $!\\n";
connect($s, sockaddr_un($ARGV[0])) or die "connect failed: $!\\n";
my $first = $$;
defined(my $second = fork) or die "fork: $!\\n";
my ($from, $to) = $second ? (\\*STDIN, $s) : ($s, \\*STDOUT);
$SIG{PIPE} = "IGNORE";
COPY: while (sysread($from, my $data, 65536)) {
  for (my $sent = 0; $sent < length $data;) {
    my $n = syswrite($to, $data, length($data) - $sent, $sent) or last COPY;
    $sent += $n;
  }
}
kill KILL => $second || $first;`;

/**
 * Opens the way to the daemon: its socket forwarded; where sshd forbids that, or the login has no right to it, a
 * program that joins a session with it, with `sudo -n` if need be.
 * @throws Error with the reason in one sentence and the way out
 */
export async function openDoor(
  login: SshLogin,
  endpoint: SshEndpoint,
  asRoot: () => Promise<RootWay>,
): Promise<Door> {
  const remote = endpoint.socketPath ?? (await findSocket(login));
  const forwarded = join(login.directory, "incus");
  await login.forward(forwarded, remote);
  if (!(await refuses(forwarded))) return { socketPath: forwarded, connections: FORWARDED, way: OWN_RIGHT };
  await login.cancelForward(forwarded, remote);
  const mayOpen = await succeeds(login, "test", "-r", remote, "-a", "-w", remote);
  const root: RootWay = mayOpen ? { prefix: [] } : await asRoot();
  if ("refusal" in root) throw new Error(await noRight(login, endpoint, remote, root.refusal));
  login.forget();
  const program = [...root.prefix, "env", "LC_ALL=C", "perl", "-e", JOIN, remote];
  const socketPath = await startProxies(login, program);
  if (await refuses(socketPath)) throw new Error(explain(login.said, { ...endpoint, socketPath: remote }));
  login.hasProxies = true;
  const way = root.prefix.length > 0 ? "sudo -n" : OWN_RIGHT;
  return { socketPath, connections: PROXIES, way: `${way}, through sessions` };
}

async function succeeds(login: SshLogin, ...argv: string[]): Promise<boolean> {
  return (await login.run(argv, { timeout: SHORT })).exitCode === 0;
}

async function findSocket(login: SshLogin): Promise<string> {
  const { stdout } = await login.run(["ls", ...SOCKETS], { timeout: SHORT });
  const found = stdout.toString().split("\n");
  return SOCKETS.find((path) => found.includes(path)) ?? "/var/lib/incus/unix.socket";
}

/** True where a connection is closed without an answer to a request. One that stays silent leads somewhere. */
function refuses(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ path, timeout: REFUSAL });
    const settle = (isRefused: boolean) => (): void => {
      socket.destroy();
      resolve(isRefused);
    };
    socket.once("connect", () => socket.write("GET /1.0 HTTP/1.1\r\nHost: incus\r\n\r\n"));
    socket.once("data", settle(false));
    socket.once("timeout", settle(false));
    socket.once("error", settle(true));
    socket.once("close", settle(true));
  });
}

async function noRight(
  login: SshLogin,
  endpoint: SshEndpoint,
  remote: string,
  refusal: string,
): Promise<string> {
  const { name, inCommand } = loginOf(endpoint);
  if (!(await succeeds(login, "test", "-e", remote)))
    return `there is no ${remote} that ${name} could see there. Is Incus installed and running?`;
  const { stdout } = await login.run(["id", "-Gn"], { timeout: SHORT });
  const groups = stdout.toString().trim().split(" ");
  const isUser = groups.includes("incus") && !groups.includes("incus-admin");
  const why = isUser
    ? " (it is in group incus alone, which has a socket and a project of its own and no pools)"
    : "";
  return `${name} may not open ${remote} there${why}, and ${refusal}. Either lets it in: that, or sudo usermod -aG incus-admin ${inCommand}`;
}

/** A socket here, each connection of which is a program of its own there. It ends with the login. */
async function startProxies(login: SshLogin, argv: readonly string[]): Promise<string> {
  const socketPath = join(login.directory, "proxy");
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    const child = login.start(argv);
    open.add(socket);
    const end = (): void => {
      open.delete(socket);
      socket.destroy();
      child.kill("SIGKILL");
    };
    for (const stream of [socket, child.stdin, child.stdout]) stream.on("error", end);
    for (const source of [socket, child]) source.once("close", end);
    child.once("error", end);
    child.stderr.on("data", (chunk: Buffer) => login.hear(chunk));
    socket.pipe(child.stdin);
    child.stdout.pipe(socket);
    // They are there for this process, and must not keep it.
    for (const one of [socket, child, child.stdin, child.stdout, child.stderr])
      if ("unref" in one && typeof one.unref === "function") one.unref();
  });
  server.unref();
  void login.isOver.then(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(socketPath, resolve);
  });
  return socketPath;
}
