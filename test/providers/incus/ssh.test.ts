import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { resolveEndpoint } from "../../../providers/incus/connection.ts";
import { quoted } from "../../../providers/incus/ssh-login.ts";
import { explain } from "../../../providers/incus/ssh-said.ts";

describe("an argument for the shell on the other side", () => {
  it("arrives as it is, whatever it holds", () => {
    const text = fc.string({ unit: "binary", maxLength: 40 }).filter((one) => !one.includes("\0"));
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 6 }), (argv) => {
        const command = ["printf", "%s\\0", ...argv].map(quoted).join(" ");
        const shown = execFileSync("sh", ["-c", command]).toString();
        expect(shown).toBe(`${argv.map((one) => Buffer.from(one).toString()).join("\0")}\0`);
      }),
      { numRuns: 150 },
    );
  });
});

describe("an ssh connection", () => {
  const endpoint = (connection: string) => resolveEndpoint({ name: "board", connection });

  it.each([
    ["ssh://board", "board", undefined, undefined],
    ["ssh://admin@10.0.0.7:2222", "admin@10.0.0.7", 2222, undefined],
    ["ssh://root@[fe80::1]/run/incus/unix.socket", "root@fe80::1", undefined, "/run/incus/unix.socket"],
  ])("%s", (connection, destination, port, socketPath) => {
    expect(endpoint(connection)).toEqual({ kind: "ssh", destination, port, socketPath });
  });

  it.each(["ssh://-oProxyCommand=sh", "ssh://root:secret@board", "ssh://-l@board", "ssh://board?x=1"])(
    "%s is refused",
    (connection) => {
      expect(() => endpoint(connection)).toThrow(/is no ssh:\/\/user@host:port/);
    },
  );
});

describe("what ssh says", () => {
  const at = { kind: "ssh", destination: "admin@board", port: undefined, socketPath: undefined } as const;
  it.each([
    ["@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", /ssh-keygen -R/],
    ["Host key verification failed.", /not known here.*accept it: ssh admin@board/],
    ["admin@board: Permission denied (publickey).", /ssh-copy-id admin@board/],
    ["ssh: Could not resolve hostname board: Name or service not known", /does not resolve/],
    ["ssh: connect to host board port 22: Connection refused", /nothing answers at its ssh port/],
    ["ssh: connect to host board port 22: Connection timed out", /does not answer/],
    ["channel 3: open failed: connect failed: Permission denied", /usermod -aG incus-admin admin/],
    ["channel 3: open failed: administratively prohibited: open failed", /AllowStreamLocalForwarding yes/],
    ["channel 3: open failed: connect failed: No such file or directory", /no Incus answers/],
    [
      "channel 1: open failed: connect failed: open failed",
      /does not open there.*usermod -aG incus-admin admin/,
    ],
    ["something else", /^something else\. Does "ssh admin@board" work\?$/],
  ])("%s", (said, told) => {
    expect(explain(said, at)).toMatch(told);
  });
});
