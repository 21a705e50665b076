import { once } from "node:events";
import { join } from "node:path";
import { execa } from "execa";
import { expect, it } from "vitest";

const PACK = join(import.meta.dirname, "..", "..", "..", "infra", "policy");

it("the policy pack starts and serves on a port, as Pulumi expects of one", async () => {
  const pack = execa("node", ["index.ts"], { cwd: PACK, stdin: "ignore", reject: false, timeout: 15_000 });
  const [output] = await once(pack.stdout, "data");
  pack.kill("SIGKILL");
  await pack;
  expect(String(output)).toMatch(/^\d{4,5}\n$/);
});
