/** `npm run bench`: what the README's figures come from. Private Incus daemons; root. */
import { writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { measureAgents } from "./agents.ts";
import { measureCommands } from "./commands.ts";
import { type Row, tableOf } from "./figures.ts";
import { measureMigrations } from "./migration.ts";
import { measureNewHost } from "./new-host.ts";

const USAGE = `Usage: npm run bench -- [--only NAME[,NAME...]] [--rounds N] [--json FILE] [--yes]

Measures, ours beside others' in the same rounds:
  commands    whole commands with 10 agents: up, plan, preview, and taking the agents away
  agents      one agent by the provider, by raw requests, by taOS' sequence; launches
  new-host    a new host with three agents, beside a script of the incus client
  migration   stopped to started, beside incus move and start

  --rounds N  measured rounds after one that warms up (default: 3)
  --json FILE the figures in milliseconds, too

With TERRAFORM_PROVIDER_INCUS=FILE (the binary of terraform's provider for Incus) terraform is measured, too.
Needs root. Starts Incus daemons of its own, never the one of this machine. Takes about 15 minutes.
`;

const PARTS: Record<string, (rounds: number) => Promise<Row[]>> = {
  commands: measureCommands,
  agents: measureAgents,
  "new-host": measureNewHost,
  migration: measureMigrations,
};

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: "string", default: Object.keys(PARTS).join(",") },
      rounds: { type: "string", default: "3" },
      json: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error("--rounds must be a number of rounds.");
  const names = values.only.split(",");
  const unknown = names.find((name) => !Object.hasOwn(PARTS, name));
  if (unknown !== undefined)
    throw new Error(`--only: there is no "${unknown}"; there are ${Object.keys(PARTS).join(", ")}.`);
  const machine = `${cpus()[0]?.model ?? ""}, ${availableParallelism()} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, load ${loadavg()[0]?.toFixed(1)} at the start`;
  const rows: Row[] = [];
  for (const name of names) {
    process.stderr.write(`${name}\n`);
    rows.push(...((await PARTS[name]?.(rounds)) ?? []));
  }
  process.stdout.write(`${machine}; median (least–most) of ${rounds} rounds\n\n${tableOf(rows)}`);
  if (values.json !== undefined)
    writeFileSync(values.json, JSON.stringify({ machine, rounds, rows }, null, 2));
}

main().then(
  // Connections to the daemons are kept alive.
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`taos-hosts: error: ${error instanceof Error ? error.message : error}\n`);
    process.exit(1);
  },
);
