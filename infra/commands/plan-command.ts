import { parseArgs } from "node:util";
import { VisibleError } from "@taos-hosts/providers";
import { hasActions, planErrors } from "../plan/plan.ts";
import { type ReportFormat, report } from "../report/report.ts";
import { pageText, plannedHost } from "./page-file.ts";
import { runCommand } from "./run-command.ts";
import { lookAtStack } from "./stack-look.ts";

const FORMATS: readonly (ReportFormat | "html")[] = ["text", "markdown", "json", "html"];

const USAGE = `Usage: npm run plan -- [--stack NAME] [--format text|markdown|json|html]

Looks at the hosts of stacks/Pulumi.NAME.yaml, read-only, and reports what "npm run up" would do to them.

  -s, --stack NAME    the stack (default: local)
      --config-file F the stack's config in another place
  -f, --format FORMAT text (default), markdown (for a pull request comment), json, or html: a page
                      that is one file and needs nothing else
      --deadline S    seconds that each host has to answer (default: 20)
  -h, --help          this text

Exit code: 0 nothing to do, 2 something would change, 1 an error: a mistake in the config, a host that does not
answer, something that is refused.
`;

/** @returns the exit code */
async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      stack: { type: "string", short: "s", default: "local" },
      "config-file": { type: "string" },
      format: { type: "string", short: "f", default: "text" },
      deadline: { type: "string", default: "20" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const format = FORMATS.find((one) => one === values.format);
  if (!format) throw new VisibleError(`--format must be one of ${FORMATS.join(", ")}.`);
  const seconds = Number(values.deadline);
  if (!(seconds > 0 && seconds <= 3_600))
    throw new VisibleError("--deadline must be a number of seconds, at most 3600.");

  const { plan } = await lookAtStack(values.stack, values["config-file"], seconds * 1_000);
  const text =
    format === "html"
      ? await pageText({
          title: `Stack ${values.stack}`,
          madeAt: new Date().toISOString(),
          hosts: plan.hosts.map(plannedHost),
        })
      : report(plan, format);
  process.stdout.write(text);
  if (planErrors(plan).length > 0) return 1;
  return hasActions(plan) ? 2 : 0;
}

runCommand(main);
