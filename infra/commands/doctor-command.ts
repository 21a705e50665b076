import { parseArgs } from "node:util";
import { parseHosts } from "../config/config.ts";
import { PROJECT_ROOT } from "../config/project.ts";
import { readStackConfig } from "../config/stack-config.ts";
import { stackFile } from "../config/stack-file.ts";
import { gatherHealth } from "../facts/health.ts";
import { examine, exitCodeOf } from "../health/examine.ts";
import { LIMITS } from "../health/machine.ts";
import { textHealth } from "../health/text.ts";
import { runCommand } from "./run-command.ts";

const USAGE = `Usage: npm run doctor -- [--stack NAME] [--json]

Looks at the health of the hosts of stacks/Pulumi.NAME.yaml, read-only: pools, what was parked, memory, limits, clock,
kernel, known security holes of Incus. Says what mends each finding, and what could not be looked at.

  -s, --stack NAME    the stack (default: local)
      --config-file F the stack's config in another place
      --json          for a program (docs/doctor.md)
  -h, --help          this text

Exit code: 0 nothing to mend in what could be looked at, 2 warnings, 1 an error, or a host that does not answer.
`;

/** Milliseconds that each host has to answer. */
const DEADLINE = 30_000;

/** @returns the exit code */
async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      stack: { type: "string", short: "s", default: "local" },
      "config-file": { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const { stack } = values;
  const file = stackFile(stack, values["config-file"]);
  const config = parseHosts((await readStackConfig(file, PROJECT_ROOT)).hosts);
  const facts = await gatherHealth(config, Object.keys(LIMITS), DEADLINE);
  const hosts = facts.map(([host, seen]) => examine(host, seen, Date.now()));
  process.stdout.write(
    values.json ? `${JSON.stringify({ stack, hosts }, null, 2)}\n` : hosts.map(textHealth).join("\n"),
  );
  return exitCodeOf(hosts);
}

runCommand(main);
