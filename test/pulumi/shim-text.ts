import { execa } from "execa";
import { projectRoot } from "./cli.ts";

/** The kinds of resources, as old state names them. */
export const KINDS = [
  "Instance",
  "InstancePlacement",
  "Network",
  "ProfileDevices",
  "StoragePool",
  "WarmImage",
] as const;

// Pulumi names the captured variable in the text: it is "provider" there and must be here.
const SCRIPT = `
import * as pulumi from "@pulumi/pulumi";
import { shim } from "./providers/pulumi/shim.ts";
const texts = {};
for (const kind of process.argv.slice(1)) {
  const provider = shim(kind);
  texts[kind] = (await pulumi.runtime.serializeFunction(() => provider, { allowSecrets: true })).text;
}
console.log(JSON.stringify(texts));
`;

let texts: Promise<Record<string, string>> | undefined;

/** What Pulumi stores in state for each kind, serialized in a plain Node process: vitest rewrites functions. */
export function shimTexts(): Promise<Record<string, string>> {
  texts ??= execa(process.execPath, ["--input-type=module", "--eval", SCRIPT, ...KINDS], {
    cwd: projectRoot,
    stdin: "ignore",
    timeout: 60_000,
  }).then(({ stdout }) => JSON.parse(stdout) as Record<string, string>);
  return texts;
}
