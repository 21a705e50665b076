import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { recordEvents } from "../../testbed/events.ts";
import { importImage } from "../../testbed/images.ts";

const COMMAND = join(import.meta.dirname, "..", "..", "..", "infra", "commands", "plan-command.ts");
const SECRET = "not-to-be-seen-1618";

let daemon: IncusDaemon;
let directory: string;

/** Runs the command as npm does. The JSON form of YAML is YAML too. */
async function plan(
  host: object,
  ...flags: string[]
): Promise<{ exitCode?: number | undefined; stdout: string; stderr: string }> {
  const file = join(directory, "Pulumi.test.yaml");
  const connection = `unix:${daemon.socketPath}`;
  await writeFile(
    file,
    JSON.stringify({ config: { "taos-hosts:hosts": { "orange-1": { connection, ...host } } } }),
  );
  return execa("node", [COMMAND, "--config-file", file, "--stack", "test", ...flags], {
    ...{ reject: false, stdin: "ignore", timeout: 50_000 },
  });
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "taos-hosts-plan-"));
  daemon = await startDaemon({ name: "plan-command", https: false });
  await daemon.incus("network", "create", "incusbr0", "ipv6.address=none");
  await daemon.incus("storage", "create", "default", "dir");
  await daemon.incus("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default");
  await daemon.incus("profile", "device", "add", "default", "eth0", "nic", "network=incusbr0", "name=eth0");
  await importImage(daemon, "bb");
});

afterAll(async () => {
  await daemon.remove();
  await rm(directory, { recursive: true, force: true });
});

describe("npm run plan", () => {
  it("ends with 2 and says what would be done to an empty dir pool, and writes nothing", async () => {
    const record = await recordEvents(daemon);
    const { exitCode, stdout } = await plan({ images: ["bb"], pool: { size: "6GiB" } });
    expect(await record.stop()).toEqual([]);
    expect(exitCode).toBe(2);
    expect(stdout).toContain("orange-1: 2 to do");
    expect(stdout).toContain("+ pool default: recreate-pool: btrfs, 6.0 GiB: it is an empty dir pool");
    expect(stdout).toContain("+ image bb: warm-image: unpacked in pool default");
  });

  it("ends with 1 and the config path where the config is wrong, without the file's secrets", async () => {
    const { exitCode, stdout, stderr } = await plan({
      agents: { iris: { imag: "bb", environment: { TOKEN: `${SECRET}\n` } } },
    });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("taos-hosts:hosts.orange-1.agents.iris.imag: unknown key. Did you mean image?");
    expect(stdout + stderr).not.toContain(SECRET);
  });

  it("needs no encrypted value", async () => {
    const environment = { TOKEN: { secure: "v1:AAAA:BBBB" } };
    const { exitCode, stdout, stderr } = await plan({
      agents: { iris: { image: "bb", environment } },
      pool: { size: "6GiB" },
    });
    expect(stderr).toBe("");
    expect(exitCode).toBe(2);
    expect(stdout).toContain("create-agent");
    expect(stdout).not.toContain("AAAA");
  });

  it("ends with 1 where a host does not answer", async () => {
    const { exitCode, stdout } = await plan({ connection: "unix:/nowhere/unix.socket" });
    expect(exitCode).toBe(1);
    expect(stdout).toContain("orange-1: not reached, left as it is");
    expect(stdout).toContain("Is Incus installed and running there?");
  });

  describe("on a host with containers", () => {
    const containers = { mary: {}, naira: {}, stanley: { project: "user-1000" } };

    beforeAll(async () => {
      await daemon.incus(
        "project",
        "create",
        "user-1000",
        "-c",
        "features.images=false",
        "-c",
        "features.profiles=false",
      );
      await daemon.incus("launch", "bb", "mary", "-c", `environment.TOKEN=${SECRET}`);
      await daemon.incus("snapshot", "create", "mary", "taos-archive-1");
      await daemon.incus("create", "bb", "naira");
      await daemon.incus("create", "bb", "stanley", "--project", "user-1000");
    });

    it("ends with 0 and names all of them, with bytes, snapshots and what a migration would take", async () => {
      const { exitCode, stdout } = await plan({ containers }, "--format", "json");
      expect(exitCode).toBe(0);
      const rows = JSON.parse(stdout).hosts[0].containers;
      expect(rows.map((row: { name: string; snapshots: number }) => [row.name, row.snapshots])).toEqual([
        ["mary", 1],
        ["naira", 0],
        ["user-1000/stanley", 0],
      ]);
      for (const { bytes, migration } of rows) {
        expect(bytes).toBeGreaterThan(500_000);
        expect(migration.bytes).toBeGreaterThan(500_000);
      }
      expect(stdout).not.toContain(SECRET);
      const markdown = await plan({ containers }, "--format", "markdown");
      expect(markdown.stdout).toContain("| mary | default (dir) | yes |");
    });

    it("measures on btrfs what is to move, and nothing else", async () => {
      await daemon.incus("storage", "create", "fast", "btrfs", "size=1GiB");
      await daemon.incus("create", "bb", "orange", "--storage", "fast");
      await daemon.incus("snapshot", "create", "orange", "monday");
      const text = await plan({ containers });
      expect(text.stdout).toMatch(/orange \(stopped\) +fast \(btrfs\) +yes +- +1 +nothing/);
      const moving = { containers: { ...containers, orange: {} }, optIn: { migrate: ["orange"] } };
      const { stdout } = await plan(moving, "--format", "json");
      const rows = JSON.parse(stdout).hosts[0].containers as { name: string; bytes: number | null }[];
      expect(rows.find(({ name }) => name === "orange")?.bytes).toBeGreaterThan(500_000);
      await daemon.incus("delete", "orange");
      await daemon.incus("storage", "delete", "fast");
    });

    it("ends with 2 for an opt-in, and with 1 for one that names nobody", async () => {
      const opted = await plan({ containers, optIn: { migrate: ["mary"] }, pool: { size: "6GiB" } });
      expect(opted.exitCode).toBe(2);
      expect(opted.stdout).toContain("+ container mary: migrate: moves from pool default to default-cow");
      const misspelt = await plan({
        containers: { marry: {} },
        optIn: { migrate: ["marry"] },
        pool: { size: "6GiB" },
      });
      expect(misspelt.exitCode).toBe(1);
      expect(misspelt.stdout).toContain("Nearest on the host: mary");
    });
  });
});
