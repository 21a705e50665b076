import type { HealthLook } from "@taos-hosts/providers";
import { type Finding, type Judgment, OUT_OF_REACH } from "./finding.ts";

/** Advice for production servers in the documentation of Incus; set-up raises the same. By sysctl name. */
export const LIMITS: Readonly<Record<string, number>> = {
  "fs.aio-max-nr": 524_288,
  "fs.inotify.max_queued_events": 1_048_576,
  "fs.inotify.max_user_instances": 1_048_576,
  "fs.inotify.max_user_watches": 1_048_576,
  "kernel.keys.maxbytes": 2_000_000,
  "kernel.keys.maxkeys": 2_000,
  "net.core.bpf_jit_limit": 1_000_000_000,
  "net.ipv4.neigh.default.gc_thresh3": 8_192,
  "net.ipv6.neigh.default.gc_thresh3": 8_192,
  "vm.max_map_count": 262_144,
};

/** Running containers from which the kernel's own limits get short: 128 inotify instances are about ten systemds. */
const MANY_CONTAINERS = 10;
/** Milliseconds that a clock may be off: leases of migrations are good for 20 s, certificates and tokens have times. */
const CLOCK_OFF = 10_000;
const CLOCK_WRONG = 300_000;

/** What is wrong with a host's machine: clock, kernel, memory, limits. */
export function judgeMachine(look: HealthLook): Judgment {
  const { machine } = look;
  const findings = [...clock(look.clock), ...kernel(look.server.kernel)];
  if (!machine) {
    const objects = ["memory cgroup", "kernel limits"];
    return { findings, notLookedAt: objects.map((object) => ({ object, why: OUT_OF_REACH })) };
  }
  findings.push(...limits(machine.limits, look.runningContainers));
  if (machine.memoryCgroup === null)
    return { findings, notLookedAt: [{ object: "memory cgroup", why: "the kernel does not tell" }] };
  if (!machine.memoryCgroup) {
    findings.push({
      severity: "warning",
      rule: "memory-cgroup",
      object: "memory",
      what: "the kernel runs without the memory cgroup: limits of memory are accepted, and not enforced",
      mend: "Put cgroup_enable=memory on the kernel's command line (Raspberry Pi: at the end of the line in /boot/firmware/cmdline.txt), then: sudo reboot",
    });
  }
  return { findings, notLookedAt: [] };
}

function clock({ ahead, within }: HealthLook["clock"]): Finding[] {
  const off = Math.abs(ahead) - within;
  if (!(off > CLOCK_OFF)) return [];
  return [
    {
      severity: off > CLOCK_WRONG ? "error" : "warning",
      rule: "clock",
      object: "clock",
      what: `it is ${Math.round(Math.abs(ahead) / 1_000)} s ${ahead > 0 ? "ahead of" : "behind"} the one here`,
      mend: "On the one that is wrong: sudo timedatectl set-ntp true",
    },
  ];
}

/** btrfs has idmapped mounts from 5.15 on (linux 5b9b26f5d0b8). */
function kernel(release: string): Finding[] {
  const [major = 0, minor = 0] = release.split(/[.-]/).map(Number);
  if (release === "" || major > 5 || (major === 5 && minor >= 15)) return [];
  return [
    {
      severity: "warning",
      rule: "kernel",
      object: "kernel",
      what: `${release} has no idmapped mounts on btrfs (5.15 has): each new container's files get their owners one by one and share no blocks with the image`,
      mend: "Take the distribution's newer kernel: sudo apt-get full-upgrade, then: sudo reboot",
    },
  ];
}

function limits(found: Record<string, number>, running: number): Finding[] {
  const low = Object.entries(LIMITS).filter(([name, advised]) => (found[name] ?? advised) < advised);
  if (low.length === 0) return [];
  const settings = low.map(([name, advised]) => `${name}=${advised}`).join(" ");
  return [
    {
      severity: running >= MANY_CONTAINERS ? "warning" : "note",
      rule: "limits",
      object: "kernel limits",
      what: `lower than Incus advises for many containers (${running} run): ${low.map(([name]) => `${name} ${found[name]}`).join(", ")}`,
      mend: `sudo sysctl -w ${settings}; to keep them, the same as lines of /etc/sysctl.d/60-taos-hosts.conf`,
    },
  ];
}
