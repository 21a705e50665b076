import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { lookAtHost } from "../../../providers/host/look-at-host.ts";
import { IncusClient } from "../../../providers/incus/client.ts";
import { getServer } from "../../../providers/incus/server.ts";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { until } from "../../testbed/deadline.ts";
import { setUpHost } from "../../testbed/host-setup.ts";
import { importImage } from "../../testbed/images.ts";
import { createUser, type PlainUser } from "../../testbed/plain-user.ts";
import { SSH_HOST, type SshServer, startSshd } from "../../testbed/sshd.ts";

const NAME = "taos-plain";
/** Group of the socket of a private daemon; on a real host it is incus-admin. */
const SOCKET_GROUP = "root";

let d: IncusDaemon;
let sshd: SshServer;
let user: PlainUser;
let client: IncusClient | undefined;
const path = process.env["PATH"] ?? "";

beforeAll(async () => {
  d = await startDaemon({ name: "ssh-user" });
  await setUpHost(d, { driver: "dir" });
  await importImage(d, "bb");
  sshd = await startSshd(d);
  user = await createUser(NAME);
  process.env["PATH"] = `${sshd.bin}:${path}`;
});
afterAll(async () => {
  process.env["PATH"] = path;
  await sshd?.stop();
  await user?.remove();
  await d?.remove();
});
afterEach(async () => {
  await client?.close();
  client = undefined;
  await user.setSudo();
  await user.setGroups();
});

const NO_PASSWORD = `${NAME} ALL=(ALL) NOPASSWD: ALL`;

async function restart(...options: string[]): Promise<void> {
  await sshd.stop();
  await sshd.start(options);
}

function connect(login = NAME): IncusClient {
  client = new IncusClient({ name: "board", connection: `ssh://${login}@${SSH_HOST}${d.socketPath}` });
  return client;
}

const look = (host: IncusClient) => lookAtHost(host, { deadline: 60_000, sizes: true });
const complaint = (host: IncusClient): Promise<string> =>
  getServer(host).then(
    () => "",
    (error: unknown) => String(error),
  );

/** What joins sessions with the daemon's socket, on the host. */
async function programsThere(): Promise<string> {
  return (await execa("pgrep", ["-f", `perl -e use Socket.*${d.socketPath}`], { reject: false })).stdout;
}

describe("a plain user over ssh", () => {
  it("in the socket's group administers Incus; the host's files stay out of reach, and it is said why", async () => {
    await user.setGroups(SOCKET_GROUP);
    const host = connect();
    const seen = await look(host);
    expect(seen.pools.map(({ name, leftovers }) => [name, leftovers])).toEqual([["default", null]]);
    expect(seen.filesReadable).toBe(false);
    expect(seen.reach).toBe(
      `over ssh: Incus by the login's own right; the host's files are out of reach: sudo asks for a password (in its sudoers there: ${NAME} ALL=(ALL) NOPASSWD: ALL)`,
    );
  });

  it("in the socket's group and with sudo -n reaches both", async () => {
    await user.setGroups(SOCKET_GROUP);
    await user.setSudo(NO_PASSWORD);
    const host = connect();
    const seen = await look(host);
    expect(seen.filesReadable).toBe(true);
    expect(seen.pools[0]?.leftovers).toEqual([]);
    expect(await host.ssh?.reach()).toMatch(/by the login's own right; the host's files by sudo -n$/);
  });

  it.each([
    ["with sudo -n alone", "yes", "sudo -n, through sessions"],
    ["with sudo -n, where sshd forwards no sockets", "no", "sudo -n, through sessions"],
  ])("%s sees the same as root on the host, and may write", async (_what, forwarding, way) => {
    await restart(`AllowStreamLocalForwarding ${forwarding}`);
    await user.setSudo(NO_PASSWORD);
    const host = connect();
    const far = await look(host);
    const here = new IncusClient({ name: "board", connection: `unix:${d.socketPath}` });
    const near = await look(here);
    await here.close();
    expect({ ...far.pools[0], freeBytes: 0 }).toEqual({ ...near.pools[0], freeBytes: 0 });
    expect(far.filesReadable).toBe(true);
    expect(await host.ssh?.reach()).toBe(`over ssh: Incus by ${way}; the host's files by sudo -n`);
    const names = Array.from({ length: 12 }, (_, index) => `plum-${index}`);
    expect(await programsThere()).not.toBe("");
    // More at once than there are sessions, and each waits for an operation.
    await Promise.all(
      names.map((name) =>
        host.run("POST", "/1.0/instances", {
          body: { name, source: { type: "none" } },
          wait: { deadline: 60_000 },
        }),
      ),
    );
    const made = (await d.incus("list", "--format", "csv", "--columns", "n")).split("\n");
    expect(made.sort()).toEqual(names.sort());
    await d.incus("delete", ...names);
    await host.close();
    await until(async () => (await programsThere()) === "", {
      what: "the programs to end",
      deadlineMs: 10_000,
    });
    await restart();
  });

  it("in the socket's group works where sshd forwards no sockets, and so does root", async () => {
    await restart("AllowStreamLocalForwarding no");
    await user.setGroups(SOCKET_GROUP);
    expect((await getServer(connect())).auth).toBe("trusted");
    expect(await client?.ssh?.reach()).toMatch(/Incus by the login's own right, through sessions;/);
    await client?.close();
    expect((await look(connect("root"))).filesReadable).toBe(true);
    await restart();
  });

  it("gets a group that it is given meanwhile with the next request", async () => {
    const host = connect();
    expect(await complaint(host)).toMatch(/may not open/);
    await user.setGroups(SOCKET_GROUP);
    expect((await getServer(host)).auth).toBe("trusted");
  });
});

describe("what is wrong is said in one line, with the way out", () => {
  it("no right to the socket, and a sudo that asks for a password", async () => {
    expect(await complaint(connect())).toMatch(
      /taos-plain may not open .*unix\.socket there, and sudo asks for a password .*NOPASSWD: ALL.*or sudo usermod -aG incus-admin taos-plain/,
    );
  });

  it("group incus alone", async () => {
    await user.setGroups("incus");
    expect(await complaint(connect())).toMatch(
      /may not open .* \(it is in group incus alone, which has .* no pools\), and sudo .*usermod -aG incus-admin taos-plain/,
    );
  });

  it("the socket of group incus", async () => {
    const env = { INCUS_DIR: d.dir, PATH: path };
    const incusUser = spawn("/usr/libexec/incus/incus-user", ["--group", "incus"], { env, stdio: "ignore" });
    try {
      await until(() => existsSync(`${d.socketPath}.user`), { what: "incus-user" });
      await user.setGroups("incus");
      const connection = `ssh://${NAME}@${SSH_HOST}${d.socketPath}.user`;
      client = new IncusClient({ name: "board", connection });
      await expect(look(client)).rejects.toThrow(
        /the socket of group incus.*no pools.*usermod -aG incus-admin/,
      );
    } finally {
      incusUser.kill();
    }
  });

  it("requiretty", async () => {
    await user.setSudo(`Defaults:${NAME} requiretty`, NO_PASSWORD);
    expect(await complaint(connect())).toMatch(
      /sudo wants a terminal \(in its sudoers there: Defaults:taos-plain !requiretty\)/,
    );
  });

  it("a sudo that does not allow everything", async () => {
    await user.setSudo(`${NAME} ALL=(ALL) NOPASSWD: /usr/bin/id`);
    expect(await complaint(connect())).toMatch(/may not open .*sudo (asks for a password|refuses)/);
  });

  it("too few sessions", async () => {
    await restart("MaxSessions 1");
    const message = await look(connect("root")).then(
      () => "",
      (error: unknown) => String(error),
    );
    expect(message).toMatch(/allows too few sessions at once\. There: MaxSessions 10/);
    expect(message.split("\n")).toHaveLength(1);
    await restart();
  });

  it("a daemon that is down", async () => {
    await user.setSudo(NO_PASSWORD);
    await d.stop();
    expect(await complaint(connect())).toMatch(/no Incus answers at .*unix\.socket there\. Is it installed/);
    await d.start();
    expect((await getServer(client ?? connect())).auth).toBe("trusted");
  });
});
