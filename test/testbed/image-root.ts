import { chmod, copyFile, link, mkdir, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { execa } from "execa";
import { init, metadata, templates, udhcpcScript } from "./image-files.ts";

/** The statically linked busybox the images are made of (Debian package busybox-static). */
export const busybox = "/bin/busybox";

/**
 * Fills `dir` with an image: metadata.yaml, templates/ and rootfs/, the latter
 * with a few files that a careless copy loses: hardlinks, a setuid file, an
 * extended attribute, a file capability, a symlink that leads nowhere.
 */
export async function writeImageTree(dir: string, description: string): Promise<void> {
  await mkdir(join(dir, "templates"), { recursive: true });
  for (const [name, { text }] of Object.entries(templates))
    await writeFile(join(dir, "templates", name), text);
  const { stdout: architecture } = await execa("uname", ["-m"], { stdin: "ignore" });
  await writeFile(join(dir, "metadata.yaml"), metadata(architecture, description));

  const root = join(dir, "rootfs");
  for (const name of [
    "bin",
    "sbin",
    "usr/bin",
    "usr/sbin",
    "etc",
    "dev",
    "proc",
    "sys",
    "run",
    "root",
    "home",
    "var/log",
    "srv",
  ]) {
    await mkdir(join(root, name), { recursive: true });
  }
  await mkdir(join(root, "tmp"));
  await chmod(join(root, "tmp"), 0o1777);
  await copyFile(busybox, join(root, "bin/busybox"));
  await chmod(join(root, "bin/busybox"), 0o755);
  await linkApplets(root);
  await writeExecutable(join(root, "sbin/init"), init);
  await writeExecutable(join(root, "etc/udhcpc.script"), udhcpcScript);
  await writeFile(
    join(root, "etc/passwd"),
    "root:x:0:0:root:/root:/bin/sh\nagent:x:1000:1000:agent:/home/agent:/bin/sh\n",
  );
  await writeFile(join(root, "etc/group"), "root:x:0:\nagent:x:1000:\n");
  await writeDelicateFiles(join(root, "srv"));
}

async function linkApplets(root: string): Promise<void> {
  const { stdout } = await execa(busybox, ["--list-full"], { stdin: "ignore" });
  for (const applet of stdout.split("\n")) {
    const path = join(root, applet);
    if (applet === "sbin/init" || applet === "bin/busybox") continue;
    await mkdir(dirname(path), { recursive: true });
    await symlink("/bin/busybox", path);
  }
}

async function writeDelicateFiles(dir: string): Promise<void> {
  await writeFile(join(dir, "hardlink-a"), "two names, one file\n");
  await link(join(dir, "hardlink-a"), join(dir, "hardlink-b"));
  await writeFile(join(dir, "setuid"), "#!/bin/sh\n");
  await chmod(join(dir, "setuid"), 0o4755);
  await writeFile(join(dir, "attribute"), "has user.taos.test\n");
  await execa("setfattr", ["-n", "user.taos.test", "-v", "kept", join(dir, "attribute")], {
    stdin: "ignore",
  });
  await writeFile(join(dir, "capable"), "has a file capability\n");
  await execa("setcap", ["cap_net_raw+ep", join(dir, "capable")], { stdin: "ignore" });
  await symlink("nowhere/at/all", join(dir, "dangling"));
}

async function writeExecutable(path: string, text: string): Promise<void> {
  await writeFile(path, text);
  await chmod(path, 0o755);
}
