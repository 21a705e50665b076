/**
 * `stack-is-local.ts FILE`: exits 0 when a host of the stack is the daemon of this machine at its usual place, 3 when
 * none is, else with a message: the file cannot be read. What is wrong with the hosts is for the program to say.
 */
import { readFileSync } from "node:fs";
import { parseStackYaml } from "../infra/config/stack-yaml.ts";

const LOCAL = /^unix(:(\/var\/lib|\/run)\/incus\/unix\.socket)?$/;

function isLocal(hosts: unknown): boolean {
  return Object.values(typeof hosts === "object" && hosts !== null ? hosts : {}).some((host: unknown) => {
    const connection: unknown =
      typeof host === "object" && host !== null ? Reflect.get(host, "connection") : null;
    return LOCAL.test(String(connection ?? "unix"));
  });
}

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

const file = process.argv[2] ?? "";
const text = textOf(file);
const read = text === undefined ? { problem: "cannot be read" } : parseStackYaml(text);
if ("problem" in read) {
  process.stderr.write(`taos-hosts: error: ${file} ${read.problem}\n`);
  process.exitCode = 1;
} else {
  process.exitCode = isLocal(read.hosts) ? 0 : 3;
}
