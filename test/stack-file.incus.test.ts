import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { projectRoot } from "./pulumi/cli.ts";
import { createStack, errorsOf, type TestStack } from "./pulumi/stack.ts";
import { type IncusDaemon, startDaemon } from "./testbed/daemon.ts";
import { setUpHost } from "./testbed/host-setup.ts";
import { importImage } from "./testbed/images.ts";

/** What people write without quotes, with what reaches the container. */
const ENVIRONMENT = {
  CHANNEL: "1122334455667788990",
  DAY: "2023-06-01",
  VERSION: "1.10",
  NUMBER: "0123",
  PORT: "8080",
  ON: "True",
};

describe("a stack file with unquoted values, aliases and merges", { timeout: 180_000 }, () => {
  let d: IncusDaemon;
  let directory: string;
  let file: string;
  let stack: TestStack;

  /** The host's address comes by a merge: who does not follow it looks at another host. */
  const textOf = (environment: string, mode = "0660"): string =>
    `x: &at {connection: "unix:${d.socketPath}"}
config:
  taos-hosts:hosts:
    orange:
      <<: *at
      pool: {driver: dir}
      agents:
        iris: &agent
          image: taos-base
          protected: false
          ready: none
          environment: &env {${environment}}
          files: [{path: /srv/note, content: x, mode: ${mode}}, {path: /srv/bytes, source: ${directory}/bytes}]
        rose: {<<: *agent, environment: {<<: *env, NUMBER: 07}}
`;
  const unquoted = Object.entries(ENVIRONMENT)
    .map(([name, value]) => `${name}: ${value}`)
    .join(", ");
  const plan = (...flags: string[]) =>
    execa("node", ["infra/commands/plan-command.ts", "--stack", stack.name, ...flags], {
      ...{ cwd: projectRoot, reject: false, stdin: "ignore", timeout: 50_000 },
    });
  const environmentOf = async (name: string): Promise<Record<string, string>> => {
    const { config } = await d.query<{ config: Record<string, string> }>(`/1.0/instances/${name}`);
    return Object.fromEntries(
      Object.keys(ENVIRONMENT).map((key) => [key, config[`environment.${key}`] ?? "(none)"]),
    );
  };

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "taos-hosts-stack-file-"));
    file = join(directory, "Pulumi.unquoted.yaml");
    await writeFile(join(directory, "bytes"), randomBytes(4096));
    d = await startDaemon({ name: "stack-file" });
    await setUpHost(d, { driver: "dir" });
    await importImage(d, "taos-base");
    stack = await createStack({ name: "unquoted", hosts: {} });
  });
  afterAll(async () => {
    await stack?.remove();
    await d?.remove();
    await rm(directory, { recursive: true, force: true });
  });

  test("means the same in plan and up: what is written; the second up is quiet", async () => {
    await writeFile(file, textOf(unquoted));
    // As script/stack does: Pulumi has a copy, which it writes anew, and the program reads the file.
    await writeFile(stack.configFile, textOf(unquoted));
    const env = { TAOS_HOSTS_CONFIG_FILE: file };
    const planned = await plan("--config-file", file);
    expect(planned.stderr).toBe("");
    expect(planned.exitCode).toBe(2);
    const up = await stack.up({ env });
    expect(errorsOf(up)).toBe("");
    expect(up.exitCode).toBe(0);
    expect(await environmentOf("iris")).toEqual(ENVIRONMENT);
    expect(await environmentOf("rose")).toEqual({ ...ENVIRONMENT, NUMBER: "07" });
    expect((await d.incus("exec", "iris", "--", "stat", "-c", "%a", "/srv/note")).trim()).toBe("660");
    expect((await d.incus("exec", "iris", "--", "sha256sum", "/srv/bytes")).slice(0, 64)).toBe(
      createHash("sha256")
        .update(await readFile(join(directory, "bytes")))
        .digest("hex"),
    );
    expect(await readFile(file, "utf8")).toBe(textOf(unquoted));
    expect((await plan("--config-file", file)).exitCode).toBe(0);
    const again = await stack.preview({ env, flags: ["--expect-no-changes"] });
    expect(again.exitCode).toBe(0);
  });

  test("is found by plain pulumi, through its --config-file; other hosts than its own are refused", async () => {
    await writeFile(file, textOf(unquoted));
    await writeFile(stack.configFile, textOf(unquoted).replace("NUMBER: 07", "NUMBER: 06"));
    const preview = await stack.preview({ env: { TAOS_HOSTS_CONFIG_FILE: file } });
    expect(preview.exitCode).not.toBe(0);
    expect(errorsOf(preview)).toContain(
      "Pulumi has another value at taos-hosts:hosts.orange.agents.rose.environment.NUMBER than",
    );
    // Pulumi adds its salt to that file and writes the unquoted values anew: said once, before anything is done.
    await writeFile(stack.configFile, textOf(unquoted));
    const rewritten = await stack.preview();
    expect(rewritten.exitCode).not.toBe(0);
    expect(errorsOf(rewritten)).toMatch(/has written unquoted values anew .*VERSION\n/s);
    const quoted = textOf(unquoted)
      .replaceAll(/([A-Z]): ([^,}]*)/g, '$1: "$2"')
      .replace("0660", '"0660"');
    await writeFile(stack.configFile, quoted);
    const plain = await stack.preview({ flags: ["--expect-no-changes"] });
    expect(errorsOf(plain)).toBe("");
    expect(plain.exitCode).toBe(0);
  });

  test("with what nobody can read is refused by plan and up in the same words", async () => {
    await writeFile(file, textOf(unquoted, "644"));
    await writeFile(stack.configFile, textOf(unquoted, "644"));
    const planned = await plan("--config-file", file);
    const preview = await stack.preview({ env: { TAOS_HOSTS_CONFIG_FILE: file } });
    const said = 'orange.agents.iris.files[0].mode: must be octal in quotes, such as "0600"';
    expect(planned.stderr).toContain(said);
    expect(errorsOf(preview)).toContain(said);
  });
});
