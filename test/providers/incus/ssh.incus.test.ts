import { existsSync } from "node:fs";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { lookAtHost } from "../../../providers/host/look-at-host.ts";
import { IncusClient } from "../../../providers/incus/client.ts";
import { getServer } from "../../../providers/incus/server.ts";
import { pulumiPath } from "../../pulumi/cli.ts";
import { changesOf, createStack, errorsOf, type TestStack } from "../../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { until } from "../../testbed/deadline.ts";
import { setUpHost } from "../../testbed/host-setup.ts";
import { importImage } from "../../testbed/images.ts";
import { SSH_HOST, type SshServer, startSshd } from "../../testbed/sshd.ts";

let d: IncusDaemon;
let sshd: SshServer;
let client: IncusClient | undefined;
let stack: TestStack | undefined;
const path = process.env["PATH"] ?? "";

beforeAll(async () => {
  d = await startDaemon({ name: "ssh" });
  await setUpHost(d, { driver: "dir" });
  await importImage(d, "bb");
  await d.incus("launch", "bb", "mary");
  sshd = await startSshd(d);
  process.env["PATH"] = `${sshd.bin}:${path}`;
});
afterAll(async () => {
  process.env["PATH"] = path;
  await sshd?.stop();
  await d?.remove();
});
async function disconnect(): Promise<void> {
  await client?.close();
  client = undefined;
}
afterEach(async () => {
  await disconnect();
  await stack?.remove();
  stack = undefined;
  await sshd.configure("");
});

const connection = (): string => `ssh://${SSH_HOST}${d.socketPath}`;

function connect(to = connection()): IncusClient {
  client = new IncusClient({ name: "board", connection: to });
  return client;
}

/** Processes and folders of the connections of these processes. */
async function connectionsOf(isOurs: (pid: number) => boolean): Promise<string[]> {
  const { stdout } = await execa("pgrep", ["-a", "-f", "taos-ssh-"], { reject: false });
  const processes = stdout.split("\n").filter((line) => line.includes("/control"));
  const folders = (await readdir(tmpdir())).filter((name) => name.startsWith("taos-ssh-"));
  return [...processes, ...folders].filter((line) => isOurs(Number(/taos-ssh-(\d+)-/.exec(line)?.[1])));
}

/** What is left of connections of this process, or of one that has ended. */
const leftovers = (): Promise<string[]> =>
  connectionsOf((pid) => pid === process.pid || !existsSync(`/proc/${pid}`));

describe("a host over ssh", () => {
  it("shows the same as on the host itself, and leaves nothing behind", async () => {
    const options = { deadline: 60_000, sizes: true };
    const far = await lookAtHost(connect(), options);
    const here = new IncusClient({ name: "board", connection: `unix:${d.socketPath}` });
    const near = await lookAtHost(here, options);
    await here.close();
    const { reach, hostFreeBytes: _far, pools: farPools, ...rest } = far;
    const { hostFreeBytes: _near, pools: nearPools, ...expected } = near;
    expect(reach).toBe("over ssh: Incus by the login's own right; the host's files as root");
    expect(rest).toEqual(expected);
    const stable = (pools: typeof farPools) => pools.map(({ freeBytes: _free, ...pool }) => pool);
    expect(stable(farPools)).toEqual(stable(nearPools));
    await disconnect();
    expect(await leftovers()).toEqual([]);
  });

  it("answers again after its connection was cut", async () => {
    const host = connect();
    expect((await getServer(host)).auth).toBe("trusted");
    await sshd.stop();
    await expect(getServer(host)).rejects.toThrow(/Host "board" cannot be reached over ssh:/);
    await sshd.start();
    expect((await getServer(host)).auth).toBe("trusted");
  });

  it("is reached with a configuration that would start commands, terminals and forwardings", async () => {
    await sshd.configure(
      "Host *\n  RemoteCommand false\n  RequestTTY force\n  LocalForward 127.0.0.1:1 127.0.0.1:1\n  ControlPath /nowhere/control\n  ControlMaster auto\n",
    );
    expect((await getServer(connect())).auth).toBe("trusted");
  });

  it("ends its connection with a process that is killed", async () => {
    const script = `
      import { IncusClient } from "./providers/incus/client.ts";
      import { getServer } from "./providers/incus/server.ts";
      await getServer(new IncusClient({ name: "board", connection: process.argv[1] }));
      console.log("connected");
      setInterval(() => undefined, 1000);`;
    const child = execa("node", ["--input-type=module", "--eval", script, connection()], { reject: false });
    const isChild = (pid: number): boolean => pid === child.pid;
    await until(async () => (await connectionsOf(isChild)).length > 1, {
      what: "a connection",
      deadlineMs: 20_000,
    });
    child.kill("SIGKILL");
    await child;
    const processes = async (): Promise<string[]> => (await leftovers()).filter((one) => one.includes(" "));
    await until(async () => (await processes()).length === 0, { what: "ssh to end", deadlineMs: 10_000 });
  });

  it("gets a pool and an agent by pulumi up, and mary moved; the next one finds nothing to do", {
    timeout: 240_000,
  }, async () => {
    const env = { PATH: `${sshd.bin}:${await pulumiPath()}` };
    const host = {
      connection: connection(),
      pool: { name: "fast", driver: "btrfs", size: "5GiB" },
      images: ["bb"],
      containers: { mary: {} },
      agents: { iris: { image: "bb", protected: false } },
    };
    stack = await createStack({ name: "ssh", hosts: { board: host }, env });
    const made = await stack.up();
    expect(errorsOf(made)).toBe("");
    expect(await d.incus("config", "device", "get", "iris", "root", "pool")).toBe("fast");
    expect(await d.ipv4("iris")).toMatch(/^10\./);
    expect(changesOf(await stack.up())).toEqual([]);
    await stack.setHosts({ board: { ...host, optIn: { migrate: ["mary"] } } });
    expect(errorsOf(await stack.up())).toBe("");
    expect(await d.incus("config", "device", "get", "mary", "root", "pool")).toBe("fast");
    expect(changesOf(await stack.up())).toEqual([]);
    await stack.setHosts({ board: host });
    expect(errorsOf(await stack.destroy())).toBe("");
    const processes = async (): Promise<string[]> => (await leftovers()).filter((one) => one.includes(" "));
    await until(async () => (await processes()).length === 0, { what: "ssh to end", deadlineMs: 10_000 });
    // What Pulumi's way of ending a provider leaves is cleared by the next connection.
    await getServer(connect());
    await disconnect();
    expect(await leftovers()).toEqual([]);
  });

  it("has an empty dir pool recreated as btrfs, after its files were looked at; one with a file is left", {
    timeout: 120_000,
  }, async () => {
    await d.incus("storage", "create", "spare", "dir");
    const stray = join(d.dir, "storage-pools/spare/notes.txt");
    await writeFile(stray, "months of memory");
    const host = {
      connection: connection(),
      pool: { name: "spare", size: "5GiB" },
      containers: { mary: {} },
    };
    const env = { PATH: `${sshd.bin}:${await pulumiPath()}` };
    stack = await createStack({ name: "ssh-recreate", hosts: { board: host }, env });
    expect(errorsOf(await stack.up())).toBe("");
    expect(await readFile(stray, "utf8")).toBe("months of memory");
    await rm(stray);
    expect(errorsOf(await stack.up())).toBe("");
    expect(await d.incus("storage", "list", "--format", "csv", "--columns", "nD")).toContain("spare,btrfs");
    expect(changesOf(await stack.up())).toEqual([]);
  });
});

describe("what is wrong is said in one line, with the way out", () => {
  const complaint = async (to?: string): Promise<string> =>
    getServer(connect(to)).then(
      () => "",
      (error: unknown) => String(error),
    );

  it("an unknown host key, and a changed one", async () => {
    await sshd.configure("Host *\n  UserKnownHostsFile /dev/null\n");
    expect(await complaint()).toMatch(
      /cannot be reached over ssh.*host key is not known here.*ssh taos-board/,
    );
    // The host's entry with the key of somebody else.
    const other = `${sshd.knownHosts}.other`;
    const [entry = ""] = (await readFile(sshd.knownHosts, "utf8")).split(" ");
    await writeFile(other, `${entry} ${await readFile(`${sshd.identity}.pub`, "utf8")}`);
    await sshd.configure(`Host *\n  UserKnownHostsFile ${other}\n`);
    await disconnect();
    expect(await complaint()).toMatch(/another host key than the known one.*ssh-keygen -R/);
  });

  it("a refused key", async () => {
    await sshd.stop();
    await sshd.start(["AuthorizedKeysFile none"]);
    expect(await complaint()).toMatch(/login was refused.*ssh-copy-id/);
    await sshd.stop();
    await sshd.start();
  });

  it("a name that does not resolve, a closed port, a socket that is not there", async () => {
    expect(await complaint("ssh://nowhere.invalid")).toMatch(/does not resolve/);
    await disconnect();
    expect(await complaint(`ssh://${SSH_HOST}:2223${d.socketPath}`)).toMatch(
      /nothing answers at its ssh port/,
    );
    await disconnect();
    expect(await complaint(`ssh://${SSH_HOST}/nowhere/unix.socket`)).toMatch(
      /\/nowhere\/unix.socket( there\.| does not open there)/,
    );
  });

  it("a host that accepts and stays silent", { timeout: 40_000 }, async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as AddressInfo;
    try {
      expect(await complaint(`ssh://127.0.0.1:${port}${d.socketPath}`)).toMatch(
        /does not answer\. Is it on|did not answer GET .* within 15 s/,
      );
    } finally {
      silent.close();
    }
  });
});
