import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { projectRoot, pulumiPath } from "../../pulumi/cli.ts";
import { createStack, errorsOf, type TestStack } from "../../pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { setUpHost } from "../../testbed/host-setup.ts";
import { importImage } from "../../testbed/images.ts";

const PACK = { flags: ["--policy-pack", "infra/policy"] };

/** A language host built from the Go module of the SDK is older than the CLI and runs no policy pack. */
async function runsPolicyPacks(): Promise<boolean> {
  const { all } = await execa("pulumi-language-nodejs", ["--help"], {
    ...{ env: { PATH: await pulumiPath() }, reject: false, all: true, stdin: "ignore" },
  });
  // Of the two only the official one has this option.
  return all.includes("-runtime ");
}

describe.skipIf(!(await runsPolicyPacks()))(
  "the policy pack (skipped without the official language host)",
  () => {
    let d: IncusDaemon;
    let stack: TestStack;
    const hosts = (agents: Record<string, unknown>) => ({
      orange: { connection: `unix:${d.socketPath}`, agents },
    });

    beforeAll(async () => {
      d = await startDaemon({ name: "policy-pack" });
      await setUpHost(d, { driver: "btrfs" });
      await importImage(d, "bb");
      stack = await createStack({ name: "pack", hosts: hosts({ iris: { image: "bb" } }) });
      expect(errorsOf(await stack.up())).toBe("");
    });
    afterAll(async () => {
      await stack?.remove();
      await d?.remove();
    });

    it("passes a preview in which every protected container is declared", async () => {
      const preview = await stack.preview(PACK);
      expect(preview.output).toContain("taos-hosts|local|infra/policy");
      expect(preview.exitCode).toBe(0);
    });

    it("fails a preview of a program that goes around Host, and names what it lacks", async () => {
      const home = await mkdtemp(join(tmpdir(), "careless-"));
      const env = {
        ...{ PATH: await pulumiPath(), HOME: process.env["HOME"] ?? "/root" },
        ...{ PULUMI_BACKEND_URL: `file://${home}`, PULUMI_CONFIG_PASSPHRASE: "a test's passphrase" },
        ...{ PULUMI_SKIP_UPDATE_CHECK: "true", PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true" },
      };
      const program = join(import.meta.dirname, "careless-program");
      const pulumi = (...args: string[]) =>
        execa("pulumi", [...args, "--non-interactive", "--color=never"], {
          ...{
            cwd: program,
            env,
            extendEnv: false,
            reject: false,
            all: true,
            stdin: "ignore",
            timeout: 60_000,
          },
        });
      try {
        // From a folder of its own, where it may write its config.
        await writeFile(join(home, "Pulumi.yaml"), "name: taos-hosts\nruntime: nodejs\n");
        await pulumi("stack", "init", "careless", "--no-select", "--cwd", home);
        const config = ["--config-file", join(home, "Pulumi.careless.yaml")];
        const pack = ["--policy-pack", join(projectRoot, "infra/policy")];
        const { exitCode, all } = await pulumi("preview", "--stack", "careless", ...config, ...pack);
        expect(all).toMatch(/protected-container-has-protect.*Container orange\/rose is protected, but/s);
        expect(all).toMatch(
          /protected-container-stays-declared.*Container orange\/iris is protected and the/s,
        );
        expect(exitCode).not.toBe(0);
      } finally {
        await rm(home, { recursive: true });
      }
    });
  },
);
