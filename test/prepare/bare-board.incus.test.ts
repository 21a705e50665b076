import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pulumiPath } from "../pulumi/cli.ts";
import { changesOf, createStack, errorsOf, opsOf, type TestStack } from "../pulumi/stack.ts";
import { BOARD_HOST, type Board, startBoard } from "../testbed/board.ts";
import { testImage } from "../testbed/images.ts";

const plugin = join(
  process.env["PULUMI_HOME"] ?? join(homedir(), ".pulumi"),
  "plugins/resource-command-v1.2.1/pulumi-resource-command",
);
/** Where the plugin cannot be downloaded, nothing of this can be seen: .ci/run puts it in place where it has it. */
const hasPlugin = existsSync(plugin);
const AGENT = { image: "taos-base", protected: false };

describe.runIf(hasPlugin).each(["bookworm", "trixie"] as const)(
  'a bare %s, reached by ssh as a user with sudo, in a stack with "prepare"',
  (release) => {
    let board: Board;
    let stack: TestStack;
    let host: Record<string, unknown>;

    beforeAll(async () => {
      board = await startBoard({ name: `prepare-bare-${release}`, release });
      host = {
        connection: `ssh://${BOARD_HOST}`,
        prepare: true,
        pool: { size: "6GiB" },
        images: [{ alias: "taos-base", file: (await testImage()).unifiedFile }],
        agents: { iris: AGENT, juno: AGENT },
      };
      stack = await createStack({
        name: `bare-${release}`,
        hosts: { board: host },
        env: { PATH: `${board.bin}:${await pulumiPath()}` },
      });
    }, 500_000);
    afterAll(async () => {
      await stack?.remove();
      await board?.remove();
    });

    const addresses = async (): Promise<string[]> =>
      (await board.incus("list", "--format=csv", "--columns=n4")).split("\n");

    test("preview says what would be prepared and all that follows, and does none of it", async () => {
      const preview = await stack.preview();
      expect(errorsOf(preview)).toBe("");
      expect(preview.exitCode).toBe(0);
      for (const line of [
        /\+ host's packages: prepare: apt-get installs incus-base incus-client/,
        /\+ host's group: prepare: pi joins incus-admin/,
        /\+ pool default: create-pool: btrfs/,
        /\+ network incusbr0: create-network/,
        /\+ image taos-base: import-image/,
        /\+ container juno: create-agent/,
      ])
        expect(preview.output).toMatch(line);
      expect(await board.run(["sh", "-c", "'command -v incus || echo none'"])).toBe("none");
    });

    test("one up ends with agents on btrfs that have addresses", { timeout: 400_000 }, async () => {
      const up = await stack.up({ withPreview: true, timeoutMs: 380_000 });
      expect(errorsOf(up)).toBe("");
      expect(up.exitCode).toBe(0);
      expect(changesOf(up)).toContain("board/prepared create");
      expect(await board.incus("storage", "get", "default", "size")).toBe("6GiB");
      expect(await board.incus("storage", "list", "--format=csv", "--columns=nD")).toBe("default,btrfs");
      expect(await board.incus("storage", "volume", "list", "default", "--format=csv")).toMatch(/^image,/m);
      expect(await addresses()).toEqual([
        expect.stringMatching(/^iris,10\./),
        expect.stringMatching(/^juno,10\./),
      ]);
    });

    test("a second one changes nothing", { timeout: 120_000 }, async () => {
      const up = await stack.up({ withPreview: true });
      expect(errorsOf(up)).toBe("");
      expect(changesOf(up)).toEqual([]);
      expect(opsOf(up)).toContain("board/prepared same");
    });

    test("one after Incus was removed by hand brings it and the agents back", {
      timeout: 400_000,
    }, async () => {
      await board.removeIncus();
      const up = await stack.up({ withPreview: true, timeoutMs: 380_000 });
      expect(errorsOf(up)).toBe("");
      expect(up.exitCode).toBe(0);
      expect(await addresses()).toEqual([
        expect.stringMatching(/^iris,10\./),
        expect.stringMatching(/^juno,10\./),
      ]);
      const again = await stack.up({ withPreview: true });
      expect(changesOf(again)).toEqual([]);
    });

    test("what is wished for besides is prepared, too", { timeout: 120_000 }, async () => {
      await stack.setHosts({ board: { ...host, prepare: { httpsAddress: ":8443" } } });
      const up = await stack.up({ withPreview: true });
      expect(errorsOf(up)).toBe("");
      expect(await board.incus("config", "get", "core.https_address")).toBe(":8443");
    });

    test("nothing of it is a secret of the state, and no key is in it", async () => {
      expect(await stack.stateText()).not.toMatch(/PRIVATE KEY|IdentityFile/);
    });
  },
);

test.skipIf(hasPlugin)(
  "a bare board: skipped, Pulumi's plugin command 1.2.1 is not installed",
  () => undefined,
);
