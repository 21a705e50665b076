import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { projectRoot } from "../pulumi/cli.ts";
import { type Board, startBoard } from "../testbed/board.ts";

const folder = join(projectRoot, "script/prepare");
const SCRIPT = readdirSync(folder)
  .sort()
  .map((name) => readFileSync(join(folder, name), "utf8"))
  .join("");

const LINES = ["packages", "ids", "limits", "group", "daemon", "daemon"];

describe.each(["bookworm", "trixie"] as const)("the script that prepares hosts, on a bare %s", (release) => {
  let board: Board;
  beforeAll(async () => {
    board = await startBoard({ name: `prepare-script-${release}`, release });
  }, 500_000);
  afterAll(() => board?.remove());

  const WISH = ["--user", "pi", "--https-address", ":8443"];
  const prepare = async (...argv: string[]): Promise<string[]> =>
    (await board.run([...argv, ...WISH], SCRIPT)).split("\n").filter(Boolean);

  test("says to anyone what it would do, and does nothing", async () => {
    const lines = await prepare("sh", "-s", "--", "--dry-run");
    expect(lines.map((line) => line.split(":")[0])).toEqual(LINES);
    expect(lines[0]).toMatch(
      release === "bookworm"
        ? /incus-base .* from bookworm-backports/
        : /incus-base incus-client btrfs-progs/,
    );
    expect(await board.run(["sh", "-c", "'command -v incus || echo none; cat /etc/subuid'"])).toMatch(
      /^none/,
    );
  });

  test("refuses to do it without root", async () => {
    await expect(prepare("sh", "-s", "--")).rejects.toThrow(/needs root.* sudo without a password/);
  });

  test("does it, then has nothing to do", { timeout: 400_000 }, async () => {
    await prepare("sudo", "-n", "sh", "-s", "--");
    expect(await prepare("sudo", "-n", "sh", "-s", "--", "--dry-run")).toEqual([]);
    // A login gets its new group with its next session.
    expect(await board.run(["id", "-nG"])).toMatch(/\bincus-admin\b/);
    expect(await board.run(["grep", "root", "/etc/subuid", "/etc/subgid"])).toMatch(/root:1000:1/);
    expect(await board.incus("config", "get", "core.https_address")).toBe(":8443");
    expect(await board.run(["/usr/sbin/mkfs.btrfs", "--version"])).toMatch(/btrfs-progs/);
    const limit = "fs.inotify.max_user_instances";
    expect(await board.run(["cat", `/proc/sys/${limit.replaceAll(".", "/")}`])).toBe("1048576");
    expect(await board.run(["cat", "/etc/sysctl.d/60-taos-hosts.conf"])).toContain(`${limit} = 1048576`);
  });

  test("a script that was cut off on its way does nothing", async () => {
    const part = SCRIPT.slice(0, SCRIPT.lastIndexOf("prepare "));
    expect(await board.run(["sudo", "-n", "sh", "-s", "--", ...WISH], part)).toBe("");
  });

  test("what was taken away is brought back", { timeout: 400_000 }, async () => {
    await board.removeIncus();
    const lines = await prepare("sudo", "-n", "sh", "-s", "--", "--dry-run");
    expect(lines.map((line) => line.split(":")[0])).toEqual(["packages", "daemon", "daemon"]);
    await prepare("sudo", "-n", "sh", "-s", "--");
    expect(await prepare("sudo", "-n", "sh", "-s", "--", "--dry-run")).toEqual([]);
    expect(await board.incus("config", "get", "core.https_address")).toBe(":8443");
  });
});
