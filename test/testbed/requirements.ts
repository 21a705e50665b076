import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { busybox } from "./image-root.ts";
import { incusd } from "./paths.ts";

/** Commands the testbed runs, with the Debian package that has each. */
const commands: Record<string, string> = {
  incus: "incus-client",
  "mkfs.btrfs": "btrfs-progs",
  mksquashfs: "squashfs-tools",
  dnsmasq: "dnsmasq-base",
  nft: "nftables",
  newuidmap: "uidmap",
  rsync: "rsync",
  ip: "iproute2",
  nsenter: "util-linux",
  losetup: "mount",
  getfattr: "attr",
  setcap: "libcap2-bin",
  openssl: "openssl",
  sudo: "sudo",
};

/** Vitest's global set-up for the tests on a real Incus: fails, naming all that is missing. */
export default async function checkRequirements(): Promise<void> {
  const missing: string[] = [];
  if (process.getuid?.() !== 0) missing.push("root (run the tests as root or with sudo)");
  if (!(await isExecutable(incusd))) missing.push(`${incusd} (package incus-base)`);
  if (!(await isExecutable(busybox))) missing.push(`${busybox} (package busybox-static)`);
  for (const [command, debianPackage] of Object.entries(commands)) {
    if (!(await isCommand(command))) missing.push(`${command} (package ${debianPackage})`);
  }
  if (missing.length === 0) return;
  throw new Error(
    `The tests on a real Incus lack:\n${missing.map((each) => `  - ${each}`).join("\n")}\nInstall that, or leave these tests out with TAOS_TEST_WITHOUT_INCUS=1.`,
  );
}

async function isCommand(name: string): Promise<boolean> {
  for (const dir of (process.env["PATH"] ?? "").split(delimiter))
    if (await isExecutable(join(dir, name))) return true;
  return false;
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
