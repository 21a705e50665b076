import { parseArgs } from "node:util";
import { clientFor, markedObjects, renameMark, VisibleError } from "@taos-hosts/providers";
import { execa } from "execa";
import { z } from "zod";
import { parseHosts } from "../config/config.ts";
import { PROJECT_ROOT, projectName } from "../config/project.ts";
import { readStackConfig } from "../config/stack-config.ts";
import { stackFile } from "../config/stack-file.ts";
import { type HostRename, renamedState } from "./renamed-state.ts";
import { runCommand } from "./run-command.ts";

const USAGE = `Usage: npm run rename -- --stack NAME [--from-stack OLD] [--from-project OLD] [--host OLD=NEW]... [--yes]

After "pulumi stack rename", another project name in Pulumi.yaml, or another name of a host in the config: gives what
the stack made its new mark, on the hosts and in Pulumi's state, and changes nothing else. Without --yes it only says
what it would do. A run that was killed is finished by running it again.

  -s, --stack NAME         the stack as it is called now (default: local)
      --from-stack OLD     what it was called before
      --from-project OLD   what its project was called before
      --host OLD=NEW       a host's name before and now; the config has the new one
      --config-file F      the stack's config in another place
  -y, --yes                do it

Exit code: 0 nothing to do, or done; 2 something would change; 1 an error.
`;

interface StackName {
  project: string;
  stack: string;
}

/** What `pulumi stack ls --json` prints; the count is missing where the backend does not know it. */
const Stacks = z.array(z.looseObject({ name: z.string(), resourceCount: z.number().optional() }));

/** @returns the exit code */
async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      stack: { type: "string", short: "s", default: "local" },
      "from-stack": { type: "string" },
      "from-project": { type: "string" },
      host: { type: "string", multiple: true, default: [] },
      "config-file": { type: "string" },
      yes: { type: "boolean", short: "y", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const project = await projectName();
  const { stack, "from-stack": fromStack = stack, "from-project": fromProject = project } = values;
  const file = stackFile(stack, values["config-file"]);
  const hosts = parseHosts((await readStackConfig(file, PROJECT_ROOT)).hosts);
  const before = hostNames(values.host, Object.keys(hosts));
  const changes = Object.keys(hosts).map((after): HostRename => {
    const old = before.get(after) ?? after;
    return {
      before: old,
      after,
      from: `${fromProject}/${fromStack}/${old}/`,
      to: `${project}/${stack}/${after}/`,
    };
  });
  if (changes.every(({ from, to }) => from === to))
    throw new VisibleError(
      "Say what was called otherwise before: --from-stack, --from-project or --host OLD=NEW.",
    );
  if (fromStack !== stack || fromProject !== project)
    await requireGone({ project: fromProject, stack: fromStack }, { project, stack });

  let count = 0;
  const say = (what: string): void => {
    process.stdout.write(`${values.yes ? "" : "would change "}${what}\n`);
  };
  for (const change of changes) {
    const host = hosts[change.after];
    if (!host || change.from === change.to) continue;
    const client = clientFor(host.connection);
    for (const object of await markedObjects(client, change)) {
      count += 1;
      if (values.yes) await renameMark(client, object, change);
      say(`${change.after}: ${object.label}: ${change.from}… → ${change.to}…`);
    }
  }
  // The state last: while it has the old marks, what is left on the hosts is found again.
  const exported = await pulumi(["stack", "export", "--stack", stack]);
  const state: unknown = JSON.parse(exported);
  const next = renamedState(state, changes);
  if (JSON.stringify(next) !== JSON.stringify(state)) {
    count += 1;
    if (values.yes) await pulumi(["stack", "import", "--stack", stack], JSON.stringify(next));
    say(`the state of stack ${stack}`);
  }
  if (count === 0) process.stdout.write("Nothing carries the old name.\n");
  return count > 0 && !values.yes ? 2 : 0;
}

/** Names before by names now. */
function hostNames(given: readonly string[], known: readonly string[]): Map<string, string> {
  const names = new Map<string, string>();
  for (const pair of given) {
    const [old = "", now = "", more] = pair.split("=");
    if (old === "" || now === "" || more !== undefined)
      throw new VisibleError(`--host ${pair}: write --host OLD=NEW.`);
    if (!known.includes(now))
      throw new VisibleError(`--host ${pair}: the config has no host "${now}". It has ${known.join(", ")}.`);
    if (known.includes(old)) {
      throw new VisibleError(
        `--host ${pair}: the config still has a host "${old}", so what carries its mark is its own.`,
      );
    }
    names.set(now, old);
  }
  return names;
}

/**
 * Makes sure that the stack as it was called before owns nothing any more: only then may its mark be given away.
 * @throws VisibleError where it has resources, or where Pulumi's backend does not say that it has none
 */
async function requireGone(before: StackName, now: StackName): Promise<void> {
  const stacks = Stacks.parse(JSON.parse(await pulumi(["stack", "ls", "--all", "--json"])));
  // A stack of the project of Pulumi.yaml is listed by its name alone, another one as organization/project/name.
  const isHere = before.project === now.project;
  const old = stacks.find(
    ({ name }) => name.endsWith(`/${before.project}/${before.stack}`) || (isHere && name === before.stack),
  );
  if (!old || old.resourceCount === 0) return;
  const target = isHere ? now.stack : `${old.name.split("/")[0]}/${now.project}/${now.stack}`;
  throw new VisibleError(
    `Stack "${old.name}" still has resources, so what carries its mark is its own. Rename it: pulumi stack rename ${target} --stack ${old.name}`,
  );
}

async function pulumi(args: string[], input = ""): Promise<string> {
  const { exitCode, stdout, stderr } = await execa("pulumi", [...args, "--non-interactive"], {
    cwd: PROJECT_ROOT,
    reject: false,
    input,
    timeout: 120_000,
    maxBuffer: 512 * 1024 * 1024,
  });
  if (exitCode === 0) return stdout;
  throw new VisibleError(`pulumi ${args.join(" ")} failed: ${stderr.split("\n")[0] ?? ""}`);
}

runCommand(main);
