import { basename } from "node:path";
import { z } from "zod";
import { SHORT } from "../common/command.ts";
import type { HostMachine } from "./machine.ts";

/** A loop device on a file. */
export interface LoopDeviceLook {
  /** Such as `/dev/loop3`. */
  device: string;
  /** Its size, which may lag behind the file's. */
  bytes: number;
}

/** A loop file as it is; a symlink is followed, as Incus itself does. Sizes in bytes. */
export interface LoopFileLook {
  bytes: number;
  devices: LoopDeviceLook[];
  /** Free on the file system that the file itself is on. */
  freeBytes: number;
}

const SECTOR = 512;

/** Answer of losetup --json; nothing at all where there is no loop device. */
const Losetup = z.object({
  loopdevices: z.array(
    z.object({ name: z.string(), "back-ino": z.coerce.string(), "back-maj:min": z.string() }),
  ),
});

/**
 * Length of a loop file and the loop devices on it. These are found by the file's own identity: what they call it
 * depends on mount namespaces and symlinks.
 * @returns undefined where it cannot be told
 */
export async function lookAtLoopFile(machine: HostMachine, path: string): Promise<LoopFileLook | undefined> {
  try {
    const [file, freeBytes] = await Promise.all([machine.identify(path), machine.freeBytes(path)]);
    if (!file.isFile) return undefined;
    const names = await devicesOn(machine, `${file.device} ${file.inode}`);
    const devices = await Promise.all(
      names.map(async (device) => ({ device, bytes: await deviceBytes(machine, device) })),
    );
    return { bytes: file.bytes, devices, freeBytes };
  } catch {
    return undefined;
  }
}

async function devicesOn(machine: HostMachine, identity: string): Promise<string[]> {
  const columns = ["--output", "NAME,BACK-INO,BACK-MAJ:MIN"];
  const { stdout } = await machine.run(["losetup", "--list", "--json", ...columns], { timeout: SHORT });
  const text = stdout.toString().trim();
  if (text === "") return [];
  const { loopdevices } = Losetup.parse(JSON.parse(text));
  return loopdevices
    .filter((one) => `${one["back-maj:min"].trim()} ${one["back-ino"].trim()}` === identity)
    .map(({ name }) => name.trim());
}

async function deviceBytes(machine: HostMachine, device: string): Promise<number> {
  const text = await machine.read(`/sys/class/block/${basename(device)}/size`);
  if (text === undefined) throw new RangeError(`no size of ${device}`);
  return Number(text) * SECTOR;
}
