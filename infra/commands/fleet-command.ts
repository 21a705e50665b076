import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { CancelledError, liveUntil, nearestNames, VisibleError } from "@taos-hosts/providers";
import { parse } from "yaml";
import { checkFiles } from "../config/files.ts";
import { PROJECT_ROOT, projectName } from "../config/project.ts";
import { type Fleet, type FleetHost, readFleet } from "../fleet/fleet-file.ts";
import { FleetState } from "../fleet/fleet-state.ts";
import { exitCode, type HostResult } from "../fleet/outcome.ts";
import { fleetOutput, textOutput } from "../fleet/output.ts";
import { FLEET_COMMANDS, perform } from "../fleet/perform.ts";
import { Progress } from "../fleet/progress.ts";
import { actionLines, checkoutCommit, objectionTo, readReviewed, saveReviewed } from "../fleet/reviewed.ts";
import { shownText } from "../fleet/stack-text.ts";
import { programVersion } from "../run/program-version.ts";
import { writeFleetPage } from "./fleet-page.ts";
import { runCommand } from "./run-command.ts";

const USAGE = `Usage: npm run fleet -- COMMAND [--only NAME,...] [--wave N] [--json]

Many hosts from one file, stacks/fleet.yaml, each a stack of its own (docs/fleet.md).

  expand    show what each host's stack config comes to
  look      look at the hosts and say what up would do, without Pulumi
  preview   the same, by a preview of Pulumi for each host that is not as at its last up
  up        make the hosts what the file says, wave by wave
  drift     look for what was changed since the last up by something else
  status    what the last up of each host was, without any look at it
  page      what look and drift find, as one HTML file

      --only NAME,...     these hosts only
      --wave N            the hosts of this wave only, whatever the waves before it came to
      --file F            the fleet file (default: stacks/fleet.yaml)
      --json              the result as JSON
      --full              preview, up: start Pulumi even where nothing is to do
      --lock-timeout S    seconds to wait for a stack that another run holds (default: 300)
      --save F            preview: keep the plans in a file, for a review
      --reviewed F        up: apply the plans of that file only
      --out F             page: write it there (default: standard output)
  -h, --help              this text

Ctrl-C: what runs comes to an orderly end, nothing else begins. Once more: at once.

Exit code: 0 all as wanted; 1 an error of the command; 130 stopped; else the sum of: 2 something is to do, 4 a host is
unreachable, 8 refused or locked, 16 failed, 32 drifted.
`;

/** Ms within which a second signal is the first one once more. */
const ECHO = 500;

/** @returns the exit code */
async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      only: { type: "string" },
      wave: { type: "string" },
      file: { type: "string" },
      json: { type: "boolean", default: false },
      full: { type: "boolean", default: false },
      "lock-timeout": { type: "string", default: "300" },
      save: { type: "string" },
      reviewed: { type: "string" },
      out: { type: "string" },
      yes: { type: "boolean", short: "y", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const [name = "", ...more] = positionals;
  const isPage = name === "page";
  const command = isPage ? "drift" : FLEET_COMMANDS.find((one) => one === name);
  if ((command === undefined && name !== "expand") || more.length > 0)
    throw new VisibleError(`Name one command: expand, ${FLEET_COMMANDS.join(", ")}, page. See --help.`);
  if (values.save !== undefined && command !== "preview") throw new VisibleError("--save goes with preview.");
  if (values.reviewed !== undefined && command !== "up") throw new VisibleError("--reviewed goes with up.");
  if (values.out !== undefined && !isPage) throw new VisibleError("--out goes with page.");
  if (isPage && values.json) throw new VisibleError("page gives HTML; the same as JSON: look --json.");
  const seconds = Number(values["lock-timeout"]);
  if (!(seconds >= 0 && seconds <= 86_400))
    throw new VisibleError("--lock-timeout must be a number of seconds, at most 86400.");
  const fleet = await readFleet(
    values.file === undefined ? join(PROJECT_ROOT, "stacks/fleet.yaml") : resolve(values.file),
  );
  const chosen = select(fleet, values.only, values.wave);
  if (command === undefined) return expand(chosen, values.json);

  const configs = checkFiles(Object.fromEntries(chosen.map((one) => [one.name, one.config])), PROJECT_ROOT);
  const selected = chosen.map((host) => ({ ...host, config: configs[host.name] ?? host.config }));
  const reviewed = values.reviewed === undefined ? undefined : await readReviewed(values.reviewed);
  const signals = takeSignals();
  const state = new FleetState(await projectName(), await programVersion(), signals.stop);
  const progress = new Progress();
  const results = await perform(command, {
    ...{
      state,
      selected,
      waves: fleet.waves,
      signals,
      progress,
      full: values.full,
      lockTimeout: seconds * 1_000,
    },
    objection: (host, plan, digests) => reviewed && objectionTo(reviewed, host.name, plan, digests),
  });
  progress.close();
  if (values.save !== undefined && !signals.stop.aborted) await save(values.save, selected, results, state);
  const code = signals.stop.aborted ? 130 : exitCode(results.map(({ outcome }) => outcome));
  if (isPage && !signals.stop.aborted) await writeFleetPage(values.out, selected, results, state);
  if (isPage && values.out === undefined) return code;
  const output = fleetOutput(command, code, results);
  process.stdout.write(values.json ? `${JSON.stringify(output, undefined, 2)}\n` : textOutput(output));
  return code;
}

/** @throws VisibleError where a name or a number is none of the fleet's */
function select({ hosts, waves }: Fleet, only: string | undefined, wave: string | undefined): FleetHost[] {
  const names = only?.split(",").map((name) => name.trim());
  const known = hosts.map(({ name }) => name);
  for (const name of names ?? []) {
    if (known.includes(name)) continue;
    const near = nearestNames(name, known, 3);
    throw new VisibleError(
      `--only: the fleet has no host "${name}". ${near.length > 0 ? `Nearest: ${near.join(", ")}.` : ""}`.trim(),
    );
  }
  const number = wave === undefined ? undefined : Number(wave);
  if (number !== undefined && waves[number - 1] === undefined)
    throw new VisibleError(`--wave must be a number from 1 to ${waves.length}.`);
  return hosts.filter(
    (host) => (names?.includes(host.name) ?? true) && (number === undefined || host.wave === number),
  );
}

function expand(hosts: readonly FleetHost[], asJson: boolean): number {
  const texts = hosts.map(({ name, text }) => [name, shownText(text)] as const);
  const json = { version: 1, hosts: Object.fromEntries(texts.map(([name, text]) => [name, parse(text)])) };
  const yaml = texts.map(([name, text]) => `# ${name}\n${text}`).join("---\n");
  process.stdout.write(asJson ? `${JSON.stringify(json, undefined, 2)}\n` : yaml);
  return 0;
}

/** The first signal stops in an orderly way, the second at once. */
function takeSignals(): { stop: AbortSignal; kill: AbortSignal } {
  const stop = new AbortController();
  const kill = new AbortController();
  let last = 0;
  const onSignal = (): void => {
    // npm passes on what the terminal has sent here, too.
    const isEcho = Date.now() - last < ECHO;
    last = Date.now();
    if (stop.signal.aborted && !isEcho) kill.abort();
    if (stop.signal.aborted) return;
    process.stderr.write("Stopping: what runs comes to an orderly end. Once more: at once.\n");
    stop.abort(new CancelledError("Stopped. The next run goes on from what the hosts show."));
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  liveUntil(stop.signal);
  return { stop: stop.signal, kill: kill.signal };
}

async function save(
  file: string,
  hosts: readonly FleetHost[],
  results: readonly HostResult[],
  state: FleetState,
): Promise<void> {
  const entries = hosts.flatMap((host) => {
    const plan = results.find((one) => one.host === host.name)?.plan;
    return plan ? [[host.name, { ...state.digestsOf(host), actions: actionLines(plan) }] as const] : [];
  });
  await saveReviewed(file, {
    version: 1,
    commit: await checkoutCommit(),
    hosts: Object.fromEntries(entries),
  });
}

runCommand(main);
