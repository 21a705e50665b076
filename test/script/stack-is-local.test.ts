import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const SCRIPT = join(import.meta.dirname, "../../script/stack-is-local.ts");
const HERE = 0;
const ELSEWHERE = 3;

describe("set-up takes for this machine", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "taos-hosts-local-"));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  const look = async (hosts: string) => {
    const file = join(directory, "Pulumi.test.yaml");
    await writeFile(file, `config:\n  taos-hosts:hosts:\n${hosts}`);
    return execa("node", [SCRIPT, file], { reject: false, timeout: 15_000 });
  };

  it.each([
    ["a host without a connection", "    a:\n", HERE],
    ["one with a local one", "    a: {connection: unix:/run/incus/unix.socket}\n", HERE],
    ["none at another socket", "    a: {connection: unix:/srv/other.socket}\n", ELSEWHERE],
    [
      "none whose address is another host's, by a merge",
      "    a: &a {connection: https://a:8443}\n    b: {<<: *a, project: b}\n",
      ELSEWHERE,
    ],
    ["none that is encrypted", "    a: {connection: {secure: v1:a:b}}\n", ELSEWHERE],
  ])("%s", async (_, hosts, expected) => {
    expect((await look(hosts)).exitCode).toBe(expected);
  });

  it("nothing of a file that it cannot read, and says so", async () => {
    const { exitCode, stderr } = await look("    a: {b: [}\n");
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^taos-hosts: error: .*Pulumi\.test\.yaml is no YAML: /);
    expect((await execa("node", [SCRIPT, "/nowhere"], { reject: false })).stderr).toContain(
      "/nowhere cannot be read",
    );
  });
});
