import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { messageOf, VisibleError } from "@taos-hosts/providers";
import { parse as parseYaml } from "yaml";
import { HOSTS_KEY, parseHosts } from "./config.ts";
import { checkFiles } from "./config-files.ts";
import { gatherFacts } from "./facts.ts";
import { hasActions, planErrors, planHosts } from "./plan.ts";
import { type ReportFormat, report } from "./report.ts";

const PROJECT = "taos-hosts";
const PROJECT_ROOT = join(import.meta.dirname, "..");
const FORMATS: readonly ReportFormat[] = ["text", "markdown", "json"];

const USAGE = `Usage: npm run plan -- [--stack NAME] [--format text|markdown|json]

Looks at the hosts of stacks/Pulumi.NAME.yaml, read-only, and reports what "npm run up" would do to them.

  -s, --stack NAME    the stack (default: local)
      --config-file F the stack's config in another place
  -f, --format FORMAT text (default), markdown (for a pull request comment) or json
      --deadline S    seconds that each host has to answer (default: 20)
  -h, --help          this text

Exit code: 0 nothing to do, 2 something would change, 1 an error: a mistake in the config, a host that does not
answer, something that is refused.
`;

/** An entry of the config that Pulumi keeps encrypted. The plan needs none of them, so none is decrypted. */
function withoutSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  const [first] = entries;
  if (entries.length === 1 && first?.[0] === "secure" && typeof first[1] === "string") return "(secret)";
  return Object.fromEntries(entries.map(([key, inner]) => [key, withoutSecrets(inner)]));
}

async function readHosts(file: string): Promise<unknown> {
  const text = await readFile(resolve(PROJECT_ROOT, file), "utf8").catch(() => {
    throw new VisibleError(
      `There is no ${file}. Copy one of stacks/ to that name and edit it, or name another stack.`,
    );
  });
  let document: unknown;
  try {
    document = parseYaml(text);
  } catch (error) {
    // Only the first line: the others quote the file, which may hold values that are nobody's business.
    throw new VisibleError(`${file} is no YAML: ${messageOf(error).split("\n")[0] ?? ""}`);
  }
  const config: unknown =
    typeof document === "object" && document !== null ? Reflect.get(document, "config") : undefined;
  const hosts: unknown =
    typeof config === "object" && config !== null ? Reflect.get(config, HOSTS_KEY) : undefined;
  if (typeof hosts === "object" && hosts !== null && "secure" in hosts) {
    throw new VisibleError(
      `${file}: ${HOSTS_KEY} is encrypted as a whole. Encrypt single values of it: pulumi config set --secret --path …`,
    );
  }
  return withoutSecrets(hosts);
}

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
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(values.stack))
    throw new VisibleError("--stack must be a stack's name.");
  const seconds = Number(values.deadline);
  if (!(seconds > 0 && seconds <= 3_600))
    throw new VisibleError("--deadline must be a number of seconds, at most 3600.");

  const given = values["config-file"];
  const file = given === undefined ? join("stacks", `Pulumi.${values.stack}.yaml`) : resolve(given);
  const hosts = checkFiles(parseHosts(await readHosts(file)), PROJECT_ROOT);
  const facts = await gatherFacts(hosts, { deadline: seconds * 1_000 });
  const plan = planHosts(hosts, facts, { project: PROJECT, stack: values.stack });
  process.stdout.write(report(plan, format));
  if (planErrors(plan).length > 0) return 1;
  return hasActions(plan) ? 2 : 0;
}

main(process.argv.slice(2)).then(
  (code) => {
    // Connections to the hosts are kept alive; nothing is left to wait for.
    process.exitCode = code;
    process.stdout.write("", () => process.exit(code));
  },
  (error: unknown) => {
    const usage =
      error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
    process.stderr.write(
      `taos-hosts: error: ${error instanceof VisibleError || usage ? messageOf(error) : error instanceof Error ? error.stack : error}\n`,
    );
    process.exit(1);
  },
);
