import { spawn } from "node:child_process";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { join } from "node:path";
import { execa } from "execa";
import { boardRoot, type Release } from "./board-root.ts";
import { until } from "./deadline.ts";
import { removeLeftovers } from "./leftovers.ts";
import { createNetwork } from "./network.ts";
import { type PackageProxy, startPackageProxy } from "./package-proxy.ts";
import { type DaemonPaths, daemonPaths } from "./paths.ts";

/** Name by which the tests' ssh_config knows a board. */
export const BOARD_HOST = "taos-bare-board";

/** The board's user: in no group, sudo without a password, a login by key. */
const USER = "pi";

export type BoardOptions = {
  /** As for a daemon: two tests that run at the same time need different ones. */
  name: string;
  release: Release;
};

/**
 * Starts a simulated board: a fresh Debian root in mount, pid and network namespaces of its own, sshd as
 * its first process, a plain user with sudo, and nothing else. There is no systemd in it.
 */
export async function startBoard({ name, release }: BoardOptions): Promise<Board> {
  const lower = await boardRoot(release);
  const paths = daemonPaths(name);
  await removeLeftovers(paths);
  for (const dir of [paths.clientDir, paths.dataDir, paths.dir]) await mkdir(dir, { recursive: true });
  await execa("mount", ["--bind", paths.dir, paths.dir]);
  await execa("mount", ["--make-shared", paths.dir]);
  const { address, hostAddress } = await createNetwork(paths);
  const proxy = await startPackageProxy(hostAddress);
  const board = new Board(paths, address, proxy);
  try {
    await board.build(lower);
    await board.start();
    return board;
  } catch (error) {
    await board.remove();
    throw error;
  }
}

/** One simulated board, and the second reader of its tests. */
export class Board {
  /** Folder with a command `ssh` that takes the tests' own configuration; goes first in PATH. */
  readonly bin: string;
  readonly address: string;
  readonly #paths: DaemonPaths;
  readonly #proxy: PackageProxy;
  readonly #root: string;

  constructor(paths: DaemonPaths, address: string, proxy: PackageProxy) {
    this.#paths = paths;
    this.#proxy = proxy;
    this.#root = join(paths.dataDir, "root");
    this.address = address;
    this.bin = join(paths.dataDir, "bin");
  }

  /** Makes the root, with the user's login and the way to Debian's packages. */
  async build(lower: string): Promise<void> {
    const { dataDir } = this.#paths;
    for (const dir of ["upper", "work", "root", "bin"]) await mkdir(join(dataDir, dir), { recursive: true });
    const layers = `lowerdir=${lower},upperdir=${join(dataDir, "upper")},workdir=${join(dataDir, "work")}`;
    await execa("mount", ["-t", "overlay", "overlay", "-o", layers, this.#root]);
    const identity = join(dataDir, "identity");
    await execa("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", identity], { stdin: "ignore" });
    const inRoot = (path: string): string => join(this.#root, path);
    // A star, not an exclamation mark: locked for passwords, open for keys.
    await execa("chroot", [this.#root, "useradd", "-m", "-s", "/bin/bash", "-p", "*", USER]);
    await writeFile(inRoot(`etc/sudoers.d/${USER}`), `${USER} ALL=(ALL) NOPASSWD: ALL\n`, { mode: 0o440 });
    await writeFile(inRoot("etc/hosts"), "127.0.0.1 localhost board\n");
    await writeFile(
      inRoot("etc/apt/apt.conf.d/99proxy"),
      `Acquire::http::Proxy "${this.#proxy.url}";\nAPT::Sandbox::User "root";\n`,
    );
    const keys = inRoot(`home/${USER}/.ssh`);
    await mkdir(keys, { mode: 0o700 });
    await writeFile(join(keys, "authorized_keys"), await readFile(`${identity}.pub`), { mode: 0o600 });
    await execa("chroot", [this.#root, "chown", "-R", `${USER}:`, `/home/${USER}/.ssh`]);
    await this.#writeClient(identity, await readFile(inRoot("etc/ssh/ssh_host_ed25519_key.pub"), "utf8"));
  }

  async start(): Promise<void> {
    const child = spawn(
      "nsenter",
      [
        `--net=${this.#paths.netnsFile}`,
        ...["unshare", "--mount", "--pid", "--fork", "--uts", "--kill-child", "--propagation", "unchanged"],
        ...["sh", join(import.meta.dirname, "board-namespace.sh"), this.#root, this.#paths.dir],
        ...["/usr/sbin/sshd", "-D", "-e"],
      ],
      { detached: true, stdio: "ignore" },
    );
    child.unref();
    await until(() => answers(this.address), { what: "the board's sshd to answer", deadlineMs: 20_000 });
  }

  /** Environment of the incus client as a second reader, on the daemon that the board has by then. */
  get env(): { INCUS_SOCKET: string; INCUS_CONF: string } {
    return { INCUS_SOCKET: this.#paths.socketPath, INCUS_CONF: this.#paths.clientDir };
  }

  /** Runs the incus command line client of this machine and returns what it printed. */
  async incus(...args: string[]): Promise<string> {
    const { stdout } = await execa("incus", args, { env: this.env, stdin: "ignore", timeout: 60_000 });
    return stdout;
  }

  /** Runs a command on the board as its user, or by `sudo`, and returns what it printed. */
  async run(argv: readonly string[], input = ""): Promise<string> {
    const { stdout } = await execa(join(this.bin, "ssh"), [BOARD_HOST, ...argv], { input, timeout: 300_000 });
    return stdout;
  }

  /** `apt-get remove` of Incus. Without systemd nothing else ends its daemon. */
  async removeIncus(): Promise<void> {
    const packages = ["apt-get", "remove", "-y", "incus-base", "incus-client"];
    await this.run(["sudo", "-n", ...packages]);
    await this.run(["sudo", "-n", "sh", "-c", "'kill -9 $(pidof incusd); rm -f /var/lib/incus/unix.socket'"]);
  }

  /** Takes the board and all that is on it from the machine. */
  async remove(): Promise<void> {
    await this.#proxy.close();
    await removeLeftovers(this.#paths);
  }

  async #writeClient(identity: string, hostKey: string): Promise<void> {
    const { dataDir } = this.#paths;
    const [type = "", key = ""] = hostKey.split(" ");
    await writeFile(join(dataDir, "known"), `${this.address} ${type} ${key}\n`);
    await writeFile(
      join(dataDir, "config"),
      `Host ${BOARD_HOST}
  HostName ${this.address}
  User ${USER}
  IdentityFile ${identity}
  IdentitiesOnly yes
  UserKnownHostsFile ${join(dataDir, "known")}
  GlobalKnownHostsFile /dev/null
`,
    );
    await writeFile(
      join(this.bin, "ssh"),
      `#!/bin/sh\nexec /usr/bin/ssh -F ${join(dataDir, "config")} "$@"\n`,
    );
    await chmod(join(this.bin, "ssh"), 0o755);
  }
}

function answers(host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port: 22 });
    const end = (isThere: boolean) => (): void => {
      socket.destroy();
      resolve(isThere);
    };
    socket.once("connect", end(true));
    socket.once("error", end(false));
  });
}
