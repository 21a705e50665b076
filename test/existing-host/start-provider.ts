import { join } from "node:path";
import { execa } from "execa";

/** Starts a call of a provider's method in a process of its own, which can be killed. */
export function startProvider(kind: string, method: string, ...args: unknown[]) {
  return execa(
    process.execPath,
    [join(import.meta.dirname, "provider-child.ts"), JSON.stringify([kind, method, ...args])],
    { reject: false, all: true, stdin: "ignore", timeout: 60_000 },
  );
}
