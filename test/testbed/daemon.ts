import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { until } from "./deadline.ts";
import { isAlive } from "./file-lock.ts";
import { removeLeftovers, removeState } from "./leftovers.ts";
import { createNetwork, type DaemonNetwork, removeNetwork } from "./network.ts";
import { type DaemonPaths, daemonPaths, incusd } from "./paths.ts";
import { processIdentity } from "./processes.ts";
import { allowIdmapOf1000 } from "./subordinate-ids.ts";

const namespaceScript = join(import.meta.dirname, "daemon-namespace.sh");
const readyDeadlineMs = 60_000;

export type DaemonOptions = {
  /** Name of the simulated host; two tests that run at the same time need different ones. */
  name: string;
  /** Whether the API also answers on `url`. @default false */
  https?: boolean;
  /** Whether what it mounts stays in its own mount namespace, as with a unit that has PrivateMounts. @default false */
  privateMounts?: boolean;
};

/**
 * Starts a private Incus daemon with its own directory and network namespace.
 * What an earlier, killed run of the same name left is removed first.
 *
 * @throws Error when a live process uses the name, or the daemon is not ready within 60 s.
 */
export async function startDaemon(options: DaemonOptions): Promise<IncusDaemon> {
  const paths = daemonPaths(options.name);
  const owner = await readFile(paths.ownerFile, "utf8").catch(() => undefined);
  if (owner !== undefined && (await isAlive(owner))) {
    throw new Error(
      `Test daemon "${options.name}" is in use by process ${owner.split(" ")[0]}: take another name or wait for it`,
    );
  }
  await removeLeftovers(paths);
  await mkdir(paths.clientDir, { recursive: true });
  await writeFile(paths.ownerFile, `${process.pid} ${await processIdentity(process.pid)}`);
  await allowIdmapOf1000();
  try {
    const daemon = new IncusDaemon(options, paths, await createNetwork(paths));
    await daemon.start();
    return daemon;
  } catch (error) {
    await removeLeftovers(paths);
    throw error;
  }
}

/** One simulated host: a private incusd and the second reader for its assertions. */
export class IncusDaemon {
  readonly name: string;
  /** Its INCUS_DIR; pool mounts below it are visible to the tests. */
  readonly dir: string;
  /** Where a test puts disk files and mounts for this host; removed with it. */
  readonly dataDir: string;
  readonly socketPath: string;
  /** Address of the daemon, reachable from the tests. */
  readonly address: string;
  /** URL of the API over TLS; answers only with `https: true`. */
  readonly url: string;
  /** File of its network namespace, for `nsenter --net=…`. */
  readonly netnsFile: string;
  readonly logFile: string;
  readonly #paths: DaemonPaths;
  readonly #network: DaemonNetwork;
  readonly #https: boolean;
  readonly #privateMounts: boolean;
  #process: ChildProcess | undefined;

  constructor(options: DaemonOptions, paths: DaemonPaths, network: DaemonNetwork) {
    this.name = options.name;
    this.dir = paths.dir;
    this.dataDir = paths.dataDir;
    this.socketPath = paths.socketPath;
    this.address = network.address;
    this.url = `https://${network.address}:8443`;
    this.netnsFile = paths.netnsFile;
    this.logFile = paths.logFile;
    this.#paths = paths;
    this.#network = network;
    this.#https = options.https ?? false;
    this.#privateMounts = options.privateMounts ?? false;
  }

  /** Environment for a command that shall talk to this daemon over its socket. */
  get env(): { INCUS_DIR: string; INCUS_SOCKET: string; INCUS_CONF: string } {
    return { INCUS_DIR: this.dir, INCUS_SOCKET: this.socketPath, INCUS_CONF: this.#paths.clientDir };
  }

  /** Process id of incusd, `undefined` while it is stopped. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /**
   * Starts incusd again after `stop` or `kill`.
   *
   * @throws Error with the end of its log when it ends or is not ready within 60 s.
   */
  async start(): Promise<void> {
    if (this.#process !== undefined) throw new Error(`Test daemon "${this.name}" already runs`);
    for (const dir of [this.dir, this.dataDir]) await shareDirectory(dir, !this.#privateMounts);
    const scratch = join(this.#paths.runDir, "cgroup");
    await mkdir(scratch, { recursive: true });
    const log = await open(this.logFile, "a");
    const child = spawn(
      "nsenter",
      [
        `--net=${this.netnsFile}`,
        ...["unshare", "--mount", "--propagation", "unchanged"],
        ...["sh", namespaceScript, scratch],
        ...[incusd, "--group", "root"],
      ],
      // Not tied to the test process: a killed test shall not take the host down half-way.
      { detached: true, stdio: ["ignore", log.fd, log.fd], env: this.#daemonEnv() },
    );
    child.unref();
    await log.close();
    this.#process = child;
    child.once("exit", () => {
      if (this.#process === child) this.#process = undefined;
    });
    const { exitCode } = await execa(incusd, ["waitready", `--timeout=${readyDeadlineMs / 1000}`], {
      env: this.#daemonEnv(),
      extendEnv: false,
      stdin: "ignore",
      reject: false,
      timeout: readyDeadlineMs,
      cancelSignal: endOf(child),
    });
    if (exitCode !== 0)
      throw new Error(`Test daemon "${this.name}" did not become ready:\n${await this.#logTail()}`);
    if (this.#https) await this.incus("config", "set", `core.https_address=${this.address}:8443`);
  }

  /** Ends incusd in an orderly way; containers keep running. @throws Error after 30 s. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** Ends incusd with SIGKILL, as a crash would; containers keep running. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** `stop`, then `start`; containers keep running. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /**
   * Makes it a virgin daemon again (about a second): no instances, images,
   * pools, networks, profiles, trust; the address stays, the server
   * certificate is a new one.
   */
  async reset(): Promise<void> {
    await removeState(this.#paths);
    this.#process = undefined;
    await removeNetwork(this.#paths);
    await createNetwork(this.#paths, this.#network.number);
    await this.start();
  }

  /** Removes the daemon and everything it made from the machine. */
  async remove(): Promise<void> {
    await removeLeftovers(this.#paths);
    this.#process = undefined;
  }

  /**
   * Runs the incus command line client, the second reader of the tests, and
   * returns what it printed. Its standard input is closed.
   *
   * @throws ExecaError with `stderr` when the client fails or takes over 120 s.
   */
  async incus(...args: string[]): Promise<string> {
    const { stdout } = await execa("incus", args, { env: this.env, stdin: "ignore", timeout: 120_000 });
    return stdout;
  }

  /** As `incus`, with `input` on its standard input. */
  async incusWithInput(input: string, ...args: string[]): Promise<string> {
    const { stdout } = await execa("incus", args, { env: this.env, input, timeout: 120_000 });
    return stdout;
  }

  /**
   * Answer of a GET on an API path such as `/1.0/instances?recursion=1`; `T` is the caller's claim.
   *
   * @throws Error with the API's own message when it answers with an error.
   */
  async query<T = unknown>(path: string): Promise<T> {
    // Without --raw the client prints nothing at all for an empty list.
    const answer = JSON.parse(await this.incus("query", "--raw", "--", path)) as {
      metadata: T | null;
      error: string;
    };
    if (answer.error) throw new Error(`GET ${path} on test daemon "${this.name}": ${answer.error}`);
    return answer.metadata ?? ([] as T);
  }

  /** Runs a command inside the network namespace of the daemon and returns what it printed. */
  async inNetwork(file: string, ...args: string[]): Promise<string> {
    const { stdout } = await execa("nsenter", [`--net=${this.netnsFile}`, "--", file, ...args], {
      stdin: "ignore",
      timeout: 120_000,
    });
    return stdout;
  }

  /** Host path of a container's rootfs; on btrfs pools it shows as long as the pool is mounted. */
  rootfs(pool: string, instance: string, project = "default"): string {
    const volume = project === "default" ? instance : `${project}_${instance}`;
    const path = join(this.dir, "storage-pools", pool, "containers", volume, "rootfs");
    return this.#privateMounts ? join(`/proc/${this.pid}/root`, path) : path;
  }

  /** IPv4 address of a running instance, as soon as it has one. @throws Error after `deadlineMs`. */
  async ipv4(instance: string, deadlineMs = 30_000): Promise<string> {
    return until(
      async () => {
        const state = await this.query<InstanceState>(`/1.0/instances/${instance}/state`);
        return state.network?.["eth0"]?.addresses.find(
          (entry) => entry.family === "inet" && entry.scope === "global",
        )?.address;
      },
      { what: `an IPv4 address of ${instance}`, deadlineMs, everyMs: 100 },
    );
  }

  async #end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.#process;
    if (child?.pid === undefined) return;
    child.kill(signal);
    await until(() => child.exitCode !== null || child.signalCode !== null, {
      what: `test daemon "${this.name}" to end after ${signal}`,
      everyMs: 10,
    });
    this.#process = undefined;
  }

  #daemonEnv(): NodeJS.ProcessEnv {
    const path = process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin";
    // No proxy variables: the daemon has nothing to fetch from outside.
    return { PATH: path, LANG: "C.UTF-8", INCUS_DIR: this.dir };
  }

  async #logTail(): Promise<string> {
    const text = await readFile(this.logFile, "utf8").catch(() => "");
    return text.split("\n").slice(-15).join("\n");
  }
}

/**
 * Makes it a mount, shared where what is mounted below is to show in the mount namespaces of daemon and tests alike.
 */
async function shareDirectory(dir: string, shared: boolean): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o711 });
  const { exitCode } = await execa("mountpoint", ["--quiet", dir], { reject: false, stdin: "ignore" });
  if (exitCode === 0) return;
  await execa("mount", ["--bind", dir, dir], { stdin: "ignore" });
  await execa("mount", [shared ? "--make-shared" : "--make-private", dir], { stdin: "ignore" });
}

type InstanceState = {
  network: Record<string, { addresses: { family: string; scope: string; address: string }[] }> | null;
};

function endOf(child: ChildProcess): AbortSignal {
  const controller = new AbortController();
  child.once("exit", () => controller.abort());
  child.once("error", () => controller.abort());
  return controller.signal;
}
