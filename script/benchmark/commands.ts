import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { stringify } from "yaml";
import { PROJECT_ROOT } from "../../infra/config/project.ts";
import type { IncusDaemon } from "../../test/testbed/daemon.ts";
import { measureRounds, OURS, type Row, type Step } from "./figures.ts";
import { ALIAS, withScene } from "./scene.ts";
import { openTerraform } from "./terraform.ts";

const AGENTS = Array.from({ length: 10 }, (_, index) => `agent-${index}`);
const MAKE = "make 10 agents until each has an IPv4";
const NOTHING = "`up`, nothing to do";
const TAKE_AWAY = "take the 10 away";

/** Whole commands as a person types them, from Enter to prompt, beside terraform and a script of the incus client. */
export function measureCommands(rounds: number): Promise<Row[]> {
  return withScene("bench-commands", async (daemon) => {
    const ours = await openStack(daemon);
    const terraform = await openTerraform(daemon);
    const empty = await openEmptyProgram();
    try {
      return await measureRounds(rounds, [
        { what: MAKE, by: OURS, run: () => ours.up(AGENTS) },
        { what: "`up`, the first after a change", by: OURS, run: () => ours.up(AGENTS) },
        { what: NOTHING, by: OURS, run: () => ours.up(AGENTS) },
        { what: "`npm run plan`", by: OURS, run: () => ours.npm("plan") },
        { what: "`npm run preview`", by: OURS, run: () => ours.npm("preview") },
        { what: "`npm run preview`", by: "empty program with one dynamic resource", run: empty.preview },
        { what: "`up -- --full`, nothing to do", by: OURS, run: () => ours.npm("up", "--yes", "--full") },
        {
          what: "`up -- --full`, nothing to do",
          by: "empty program with one dynamic resource",
          run: empty.up,
        },
        { what: TAKE_AWAY, by: OURS, run: () => ours.up([]) },
        ...(terraform
          ? [
              { what: MAKE, by: "terraform", run: () => terraform.apply(AGENTS.length) },
              { what: NOTHING, by: "terraform", run: () => terraform.apply(AGENTS.length) },
              { what: "`npm run plan`", by: "terraform", run: () => terraform.plan(AGENTS.length) },
              { what: TAKE_AWAY, by: "terraform", run: () => terraform.apply(0) },
            ]
          : []),
        ...scriptSteps(daemon),
      ]);
    } finally {
      await terraform?.remove();
      await ours.remove();
      await empty.remove();
    }
  });
}

function scriptSteps(daemon: IncusDaemon): Step[] {
  const names = AGENTS.map((name) => `script-${name}`);
  const make = async (): Promise<void> => {
    await Promise.all(names.map((name) => daemon.incus("launch", ALIAS, name)));
    await Promise.all(names.map((name) => daemon.ipv4(name)));
  };
  return [
    { what: MAKE, by: "incus client", run: make },
    { what: TAKE_AWAY, by: "incus client", run: () => daemon.incus("delete", "--force", ...names) },
  ];
}

/** A stack with state of its own, driven by `npm run`. */
async function openStack(daemon: IncusDaemon) {
  const directory = await mkdtemp(join(tmpdir(), "taos-hosts-bench-"));
  const file = join(directory, "Pulumi.bench.yaml");
  await mkdir(join(directory, "backend"));
  const npm = async (command: string, ...flags: string[]): Promise<void> => {
    const args = ["run", command, "--", "--stack", "bench", "--config-file", file, ...flags];
    await execa("npm", args, {
      ...{ cwd: PROJECT_ROOT, env: stateIn(directory), stdin: "ignore", timeout: 300_000 },
    });
  };
  return {
    npm,
    /** `up` with these agents in the config, each of which may be taken away again. */
    async up(agents: readonly string[]): Promise<void> {
      const wanted = Object.fromEntries(agents.map((name) => [name, { image: ALIAS, protected: false }]));
      const host = { connection: `unix:${daemon.socketPath}`, images: [ALIAS], agents: wanted };
      await writeFile(file, stringify({ config: { "taos-hosts:hosts": { bench: host } } }));
      await npm("up", "--yes");
    },
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

/** The least that Pulumi takes with a dynamic resource: nothing but one that does nothing. */
async function openEmptyProgram() {
  // Below the project, so that it finds the same packages.
  const directory = await mkdtemp(join(PROJECT_ROOT, ".state", "bench-"));
  await writeFile(
    join(directory, "Pulumi.yaml"),
    "name: empty\nmain: index.cjs\nruntime:\n  name: nodejs\n  options: {typescript: false}\n",
  );
  await writeFile(join(directory, "index.cjs"), EMPTY_PROGRAM);
  await writeFile(join(directory, "package.json"), '{"name": "empty", "private": true}');
  await mkdir(join(directory, "backend"));
  const env = { ...stateIn(directory), NODE_OPTIONS: "" };
  const pulumi = async (...args: string[]): Promise<void> => {
    await execa("pulumi", [...args, "--stack", "empty", "--non-interactive"], {
      ...{ cwd: directory, env, stdin: "ignore", timeout: 120_000 },
    });
  };
  await pulumi("stack", "init");
  return {
    preview: () => pulumi("preview"),
    up: () => pulumi("up", "--yes", "--skip-preview"),
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

const EMPTY_PROGRAM = `const pulumi = require("@pulumi/pulumi");
class One extends pulumi.dynamic.Resource {
  constructor(name) {
    super({ create: async () => ({ id: "one", outs: {} }) }, name, {}, undefined);
  }
}
new One("one");
`;

function stateIn(directory: string): Record<string, string> {
  return { PULUMI_BACKEND_URL: `file://${join(directory, "backend")}`, PULUMI_CONFIG_PASSPHRASE: "bench" };
}
