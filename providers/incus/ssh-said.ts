import type { CommandResult } from "../common/command.ts";
import type { SshEndpoint } from "./connection.ts";

/** Name of the login in messages and commands; what ssh_config says of it is not known here. */
export function loginOf({ destination }: Pick<SshEndpoint, "destination">): {
  name: string;
  inCommand: string;
} {
  const name = destination.includes("@") ? destination.slice(0, destination.lastIndexOf("@")) : undefined;
  return { name: name ?? "the login", inCommand: name ?? "USER" };
}

/** What ssh said, in one sentence with the way out. */
export function explain(said: string, { destination, socketPath }: SshEndpoint): string {
  const login = loginOf({ destination });
  const place = socketPath ?? "the daemon's socket";
  const known: [RegExp, string][] = [
    [
      /REMOTE HOST IDENTIFICATION HAS CHANGED/,
      `it shows another host key than the known one. If it was set up anew: ssh-keygen -R HOST, and ssh ${destination} to look at the new key`,
    ],
    [
      /Host key verification failed/,
      `its host key is not known here. Look at it and accept it: ssh ${destination}`,
    ],
    [
      /Permission denied \(/,
      `the login was refused. Give it a key: ssh-copy-id ${destination}; a key with a passphrase belongs into ssh-agent`,
    ],
    [
      /Could not resolve hostname/,
      "its name does not resolve. Correct it, or give it a Host entry in ~/.ssh/config",
    ],
    [
      /Session open refused|session request failed/,
      "its sshd allows too few sessions at once. There: MaxSessions 10, which is its default",
    ],
    [
      /connect failed: Permission denied|open failed.*Permission denied/,
      `${login.name} may not open the daemon's socket there. On the host: sudo usermod -aG incus-admin ${login.inCommand}`,
    ],
    [
      /perl.{0,3}: (No such file|.*not found)/,
      "its sshd forbids to forward sockets, and without that perl is needed there. Install it, or set AllowStreamLocalForwarding yes",
    ],
    [
      /administratively prohibited|Forwarding.*(disabled|refused)/,
      "its sshd forbids to forward sockets. Allow it there: AllowStreamLocalForwarding yes (and no restrict in authorized_keys)",
    ],
    [
      /connect failed: (No such file|Connection refused)/,
      `no Incus answers at ${place} there. Is it installed and running?`,
    ],
    [
      // OpenSSH before 9.4 gives no reason.
      /connect failed: open failed/,
      `${place} does not open there: no Incus runs, or ${login.name} has no right to it (sudo usermod -aG incus-admin ${login.inCommand})`,
    ],
    [/Connection refused/, "nothing answers at its ssh port. Is it on, and is the port right?"],
    [/timed out|No route to host|Network is unreachable/, "it does not answer. Is it on, and in reach?"],
  ];
  const found = known.find(([pattern]) => pattern.test(said))?.[1];
  const [line = "ssh ended"] = said.trim().split("\n").filter(Boolean).slice(-1);
  return found ?? `${line.trim().slice(0, 300)}. Does "ssh ${destination}" work?`;
}

/** Why `sudo -n` did nothing, with the way out. */
export function sudoRefusal({ exitCode, stderr }: CommandResult, login: string): string {
  if (exitCode === 127) return "there is no sudo";
  if (/must have a tty/.test(stderr))
    return `sudo wants a terminal (in its sudoers there: Defaults:${login} !requiretty)`;
  if (/password is required/.test(stderr))
    return `sudo asks for a password (in its sudoers there: ${login} ALL=(ALL) NOPASSWD: ALL)`;
  const [line = ""] = stderr.trim().split("\n");
  return `sudo refuses: ${line.replace(/^sudo: /, "").slice(0, 200)}`;
}
