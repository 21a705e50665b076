import { SHORT } from "../common/command.ts";
import type { HostFiles } from "./files.ts";

/** What a host's kernel and packages say, beside Incus. */
export interface MachineHealth {
  /** Version of the distribution's package that the running Incus is from; null where it is from none that is known. */
  incusPackage: string | null;
  /** Whether limits of memory are enforced; null where it cannot be told. */
  memoryCgroup: boolean | null;
  /** Kernel limits as they are, by their sysctl names; those that this kernel does not have are missing. */
  limits: Record<string, number>;
}

const CGROUPS = "/proc/cgroups";
const CONTROLLERS = "/sys/fs/cgroup/cgroup.controllers";

/**
 * Reads them in two commands.
 * @param version of the Incus that answers: its package may have been replaced since it was started
 * @param limits sysctl names
 */
export async function lookAtMachine(
  files: HostFiles,
  version: string,
  limits: readonly string[],
): Promise<MachineHealth> {
  const fileOf = (name: string): string => `/proc/sys/${name.replaceAll(".", "/")}`;
  const wanted = [CGROUPS, CONTROLLERS, ...limits.map(fileOf)];
  const [lines, installed] = await Promise.all([
    files.machine.run(["grep", "--no-messages", "--with-filename", "^", ...wanted], { timeout: SHORT }),
    files.run(["dpkg-query", "--show", "incus-base", "incus"], { timeout: SHORT }),
  ]);
  const texts = textsByFile(lines.stdout.toString());
  return {
    incusPackage: packageOf(version, installed.stdout.toString()),
    memoryCgroup: enforcesMemory(texts.get(CONTROLLERS), texts.get(CGROUPS)),
    limits: Object.fromEntries(
      limits.flatMap((name) => {
        const text = texts.get(fileOf(name));
        return text === undefined ? [] : [[name, Number(text)]];
      }),
    ),
  };
}

/** Output of `grep --with-filename`, by file. */
function textsByFile(output: string): Map<string, string> {
  const texts = new Map<string, string>();
  for (const line of output.split("\n")) {
    const colon = line.indexOf(":");
    if (colon < 0) continue;
    const [file, text] = [line.slice(0, colon), line.slice(colon + 1)];
    const before = texts.get(file);
    texts.set(file, before === undefined ? text : `${before}\n${text}`);
  }
  return texts;
}

/**
 * The version of the package that this Incus is from: `1:6.21-debian12-…` and `6.0.4-2+deb13u7` are 6.21 and 6.0.4.
 * @param installed packages with their versions, as `dpkg-query --show` prints them
 */
export function packageOf(version: string, installed: string): string | null {
  const versions = installed.split("\n").map((line) => line.split("\t")[1] ?? "");
  return versions.find((one) => one.replace(/^\d+:/, "").startsWith(`${version}-`)) ?? null;
}

/**
 * Whether the kernel counts memory: the firmware of a Raspberry Pi starts it with `cgroup_disable=memory`, and Incus
 * takes limits all the same.
 * @param controllers text of the second version's `cgroup.controllers`; undefined where the first one is in use
 * @param cgroups text of `/proc/cgroups`
 */
export function enforcesMemory(controllers: string | undefined, cgroups: string | undefined): boolean | null {
  if (controllers !== undefined) return controllers.split(/\s+/).includes("memory");
  const enabled = /^memory\s+\d+\s+\d+\s+(\d)$/m.exec(cgroups ?? "")?.[1];
  return enabled === undefined ? null : enabled === "1";
}
