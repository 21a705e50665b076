import { type ChildProcess, spawn } from "node:child_process";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { basename, join } from "node:path";
import { execa } from "execa";
import type { IncusDaemon } from "./daemon.ts";
import { until } from "./deadline.ts";

/** Name by which the tests' ssh_config knows the host. */
export const SSH_HOST = "taos-board";

export const SSH_PORT = 2222;

/** A real sshd in a daemon's network, and a client's configuration that knows its key. */
export type SshServer = {
  /** Folder with a command `ssh` that takes the tests' own configuration; goes first in PATH. */
  readonly bin: string;
  /** The client's known hosts: a test may empty or change it. */
  readonly knownHosts: string;
  /** The client's private key. */
  readonly identity: string;
  /** Lines added to the client's configuration, before ours. */
  configure(lines: string): Promise<void>;
  /** Leads the client over another port of this machine. */
  connectOver(port: number): Promise<void>;
  /** Ends all connections and the server; `start` begins anew, with further lines of sshd's configuration. */
  stop(): Promise<void>;
  start(options?: readonly string[]): Promise<void>;
};

/** Starts sshd where a daemon is, with logins by one key as any user. */
export async function startSshd(daemon: IncusDaemon): Promise<SshServer> {
  const dir = join(daemon.dataDir, "ssh");
  const bin = join(dir, "bin");
  const file = (name: string): string => join(dir, name);
  await mkdir(bin, { recursive: true });
  // A user that logs in is to read its authorized keys.
  await chmod(dir, 0o711);
  await mkdir("/run/sshd", { recursive: true });
  for (const key of ["host", "identity"])
    await execa("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", file(key)], { stdin: "ignore" });
  await writeFile(file("authorized"), await readFile(file("identity.pub")), { mode: 0o644 });
  const [type = "", key = ""] = (await readFile(file("host.pub"), "utf8")).split(" ");
  const knownHosts = file("known");
  await writeFile(knownHosts, `[${daemon.address}]:${SSH_PORT} ${type} ${key}\n`);
  const server = [
    `Port ${SSH_PORT}`,
    `HostKey ${file("host")}`,
    `PidFile ${file("pid")}`,
    `AuthorizedKeysFile ${file("authorized")}`,
    ...["PermitRootLogin prohibit-password", "StrictModes no", "UsePAM no", "UseDNS no"],
  ];
  const configure = (lines: string): Promise<void> =>
    writeFile(
      file("config"),
      `${lines}
Host ${SSH_HOST}
  HostName ${daemon.address}
  Port ${SSH_PORT}
  User root
Host *
  IdentityFile ${file("identity")}
  IdentitiesOnly yes
  UserKnownHostsFile ${knownHosts}
  GlobalKnownHostsFile /dev/null
`,
    );
  await configure("");
  const connectOver = (port: number): Promise<void> =>
    configure(
      `Host ${SSH_HOST}\n  HostName 127.0.0.1\n  Port ${port}\n  HostKeyAlias [${daemon.address}]:${SSH_PORT}\n`,
    );
  await writeFile(join(bin, "ssh"), `#!/bin/sh\nexec /usr/bin/ssh -F ${file("config")} "$@"\n`);
  await chmod(join(bin, "ssh"), 0o755);

  let child: ChildProcess | undefined;
  const start = async (options: readonly string[] = []): Promise<void> => {
    await writeFile(file("sshd_config"), `${[...options, ...server].join("\n")}\n`);
    const net = `--net=${daemon.netnsFile}`;
    child = spawn("nsenter", [net, "/usr/sbin/sshd", "-D", "-e", "-f", file("sshd_config")], {
      stdio: "ignore",
    });
    await until(() => answers(daemon.address), { what: "sshd to answer", deadlineMs: 10_000 });
  };
  const stop = async (): Promise<void> => {
    const running = child;
    child = undefined;
    if (!running || running.exitCode !== null) return;
    const gone = new Promise<void>((resolve) => running.once("exit", () => resolve()));
    running.kill("SIGKILL");
    await gone;
    // Each connection is a process of its own in the daemon's network.
    const { stdout } = await execa("ip", ["netns", "pids", basename(daemon.netnsFile)]);
    for (const pid of stdout.split("\n").filter(Boolean)) {
      const name = await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "");
      if (name.startsWith("sshd")) process.kill(Number(pid), "SIGKILL");
    }
  };
  await start();
  return { bin, knownHosts, identity: file("identity"), configure, connectOver, stop, start };
}

function answers(host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port: SSH_PORT });
    const end = (isThere: boolean) => (): void => {
      socket.destroy();
      resolve(isThere);
    };
    socket.once("connect", end(true));
    socket.once("error", end(false));
  });
}
