/**
 * `stack-is-local.ts CONFIG`: exits 0 when a host of the stack is the daemon of this machine at its usual place,
 * 1 when none is. What is wrong with the config is for the program to say.
 */
import { readFileSync } from "node:fs";
import { parse } from "yaml";

const LOCAL = /^unix(:(\/var\/lib|\/run)\/incus\/unix\.socket)?$/;

type Config = { config?: Record<string, Record<string, { connection?: unknown } | null> | null> };

function isLocal(text: string): boolean {
  const hosts = (parse(text) as Config | null)?.config?.["taos-hosts:hosts"] ?? {};
  return Object.values(hosts).some((host) => LOCAL.test(String(host?.connection ?? "unix")));
}

try {
  process.exitCode = isLocal(readFileSync(process.argv[2] ?? "", "utf8")) ? 0 : 1;
} catch {
  process.exitCode = 1;
}
