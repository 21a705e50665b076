import { link, lutimes, mkdir, open, symlink, utimes, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { execa } from "execa";

/** Names in `directory`, as bytes: a newline, and bytes that are no UTF-8. */
const ODD_NAMES = [
  Buffer.from("new\nline"),
  Buffer.from([0x66, 0xff, 0xfe, 0x80]),
  Buffer.from("-rf *"),
  Buffer.from(" "),
];

/** Fills `directory` of a root file system on the host with all that a careless copy loses. */
export async function writeOddFiles(root: string, directory: string): Promise<void> {
  const dir = join(root, directory);
  await mkdir(join(dir, "empty/very"), { recursive: true });
  for (const name of ODD_NAMES) await writeFile(Buffer.concat([Buffer.from(`${dir}/`), name]), name);
  await writeFile(join(dir, "linked"), "one file, three names");
  await link(join(dir, "linked"), join(dir, "empty/linked"));
  await link(join(dir, "linked"), join(root, "etc/linked-far-away"));
  await link(join(root, "srv/attribute"), join(dir, "linked-to-the-image"));
  await symlink("/bin/sh", join(dir, "link-to-sh"));
  await symlink("no/such/thing", join(dir, "broken"));
  await lutimes(join(dir, "broken"), 1_600_000_000.5, 1_600_000_000.25);
  await writeSparse(join(dir, "sparse"));
  await writeFile(join(dir, "setuid"), "setuid");
  await writeFile(join(dir, "owned"), "of the agent");
  await bindSocket(join(dir, "socket"));
  for (const [file, ...args] of commandsFor(dir)) await execa(file ?? "", args, { stdin: "ignore" });
  await utimes(join(dir, "owned"), 1_500_000_000, 1_500_000_000.123_456);
}

function commandsFor(dir: string): string[][] {
  const at = (name: string): string => join(dir, name);
  return [
    ["chmod", "6755", at("setuid")],
    ["chown", "1000:1000", at("owned")],
    ["mkfifo", "-m", "620", at("fifo")],
    ["mknod", at("null"), "c", "1", "3"],
    ["mknod", at("whiteout"), "c", "0", "0"],
    ["mknod", at("disk"), "b", "7", "99"],
    ["setfattr", "-n", "user.note", "-v", "kept", at("owned")],
    ["setfattr", "-n", "user.rsync.odd", "-v", "kept too", at("owned")],
    ["setfattr", "-n", "trusted.overlay.opaque", "-v", "y", at("empty")],
    ["setfacl", "-m", "u:1234:rw", at("owned")],
    ["setfacl", "-d", "-m", "g:77:rx", at("empty")],
    ["setcap", "cap_net_bind_service+ep", at("linked")],
  ];
}

async function writeSparse(path: string): Promise<void> {
  const file = await open(path, "w");
  await file.write("end", 64 * 1024 ** 2);
  await file.close();
}

/** A socket stays as a file when its path is moved away before the server closes. */
async function bindSocket(path: string): Promise<void> {
  const server = createServer();
  const short = `/tmp/odd-${process.pid}.socket`;
  await new Promise<void>((resolve) => server.listen(short, resolve));
  await execa("cp", ["-a", short, path], { stdin: "ignore" });
  await new Promise((resolve) => server.close(resolve));
}

/** Changes content without changing size or modification time, as a write through a mapping or `touch -r` would. */
export async function changeSecretly(path: string, content: string): Promise<void> {
  const { stdout } = await execa("stat", ["--format=%y", path]);
  const file = await open(path, "r+");
  await file.write(content, 0);
  await file.close();
  await execa("touch", ["--no-create", `--date=${stdout}`, path], { stdin: "ignore" });
}
