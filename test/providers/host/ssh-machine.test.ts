import { expect, it } from "vitest";
import { openSshMachine } from "../../../providers/host/ssh-machine.ts";
import type { SshConnection } from "../../../providers/incus/ssh.ts";

/** A board on which no `find` and no `stat` is: what a real one cannot be made to show here. */
async function machineWithoutPrograms() {
  const answer = (exitCode: number, stdout: string, stderr: string) => ({
    ...{ exitCode, stdout: Buffer.from(stdout), stderr, timedOut: false },
  });
  const run: SshConnection["run"] = async () =>
    answer(127, "", "timeout: failed to run command 'find': No such file or directory\n");
  const machine = await openSshMachine({ run, asRoot: async () => ({ prefix: [] }) });
  if (!machine) throw new Error("no machine");
  return machine;
}

it("a program that is not there proves no directory empty, and no path absent", async () => {
  const machine = await machineWithoutPrograms();
  await expect(machine.list("/var/lib/incus/storage-pools/default")).rejects.toThrow(
    /find .* ended with 127/,
  );
  await expect(machine.exists("/var/lib/incus/storage-pools/default")).rejects.toThrow(/ended with 127/);
});
