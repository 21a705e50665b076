import { rm, writeFile } from "node:fs/promises";
import { execa } from "execa";

/** Groups that Incus' packages make: all of Incus, and a project of one's own. */
export type IncusGroup = "incus-admin" | "incus";

/** A user of this machine without any rights, for logins over ssh. */
export type PlainUser = {
  readonly name: string;
  /** Gives it sudo by these lines of sudoers; without any, none. */
  setSudo(...lines: string[]): Promise<void>;
  /** Sets the groups it is in beside its own. */
  setGroups(...groups: (IncusGroup | "root")[]): Promise<void>;
  remove(): Promise<void>;
};

/** Makes a user; what a killed run left of the same name is made anew. */
export async function createUser(name: string): Promise<PlainUser> {
  const sudoers = `/etc/sudoers.d/${name}`;
  const remove = async (): Promise<void> => {
    await rm(sudoers, { force: true });
    await execa("userdel", [name], { reject: false, stdin: "ignore" });
  };
  await remove();
  // Neither a password nor locked: sshd lets no locked user in.
  const own = ["--system", "--user-group", "--no-create-home", "--home-dir", "/", "--shell", "/bin/sh"];
  await execa("useradd", [...own, "--password", "*", name], { stdin: "ignore" });
  return {
    name,
    async setSudo(...lines) {
      await rm(sudoers, { force: true });
      if (lines.length === 0) return;
      await writeFile(sudoers, `${lines.join("\n")}\n`, { mode: 0o440 });
      await execa("visudo", ["--check", "--file", sudoers], { stdin: "ignore" });
    },
    async setGroups(...groups) {
      await execa("usermod", ["--groups", groups.join(","), name], { stdin: "ignore" });
    },
    remove,
  };
}
