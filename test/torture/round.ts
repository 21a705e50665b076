import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import type { Plan } from "../../infra/plan/plan.ts";
import { projectRoot } from "../pulumi/cli.ts";
import type { PulumiRun } from "../pulumi/run.ts";
import { changesOf, createStack, errorsOf, type RunResult, type TestStack } from "../pulumi/stack.ts";
import type { IncusDaemon } from "../testbed/daemon.ts";
import { judgeAgent } from "./agent.ts";
import { doByHand, type HandScene } from "./hand.ts";
import { configOf, listedNames, makeHost, optInOf, projectOf } from "./host.ts";
import { differences, type Fault, firstDifference, judge, type Memory } from "./judge.ts";
import type { HandAct, KillStory, StepStory, Story } from "./story.ts";
import { lookAtWorld, type World } from "./world.ts";

/** Longest run of a command of the CLI, in milliseconds. */
const LONGEST_RUN = 180_000;

/** Plays one story on a virgin daemon and returns what is wrong; `tell` gets the story as it happens. */
export async function playRound(
  d: IncusDaemon,
  story: Story,
  tell: (line: string) => void,
): Promise<Fault[]> {
  await makeHost(d, story);
  const stack = await createStack({ name: "torture", hosts: {} });
  try {
    return await new Round(d, story, stack, tell).play();
  } finally {
    await stack.remove();
  }
}

/** One round on its way. */
class Round {
  readonly #d: IncusDaemon;
  readonly #story: Story;
  readonly #stack: TestStack;
  readonly #tell: (line: string) => void;
  readonly #faults: Fault[] = [];
  readonly #scene: HandScene;
  readonly #involved = new Set<string>();
  readonly #memories = new Map<string, Memory>();
  /** What this run or an interrupted one before it may do. */
  /** The last plan has announced what goes with the next run. */
  #isMoreToCome = false;
  #optIn = { undone: new Set<string>(), removable: new Set<string>() };
  #names = 0;

  constructor(d: IncusDaemon, story: Story, stack: TestStack, tell: (line: string) => void) {
    this.#d = d;
    this.#story = story;
    this.#stack = stack;
    this.#tell = tell;
    this.#scene = {
      d,
      hands: { made: new Set(), renamedParked: new Map(), undecided: new Set() },
      listed: new Set(listedNames(story).map((name) => this.#refOf(name))),
      nextName: () => `hand-${++this.#names}`,
      tell,
      midway: false,
    };
  }

  async play(): Promise<Fault[]> {
    for (const step of this.#story.steps) {
      await this.#byHand(step.hand);
      await this.#step(step);
      if (this.#faults.length > 0) return this.#faults;
    }
    const last = this.#story.steps.at(-1);
    if (last) await this.#settle(last);
    return this.#faults;
  }

  #refOf(name: string): string {
    const container = this.#story.containers.find((one) => one.name === name);
    return `${container ? projectOf(this.#story, container) : "default"}/${name}`;
  }

  async #byHand(acts: HandAct[]): Promise<void> {
    for (const act of acts) await doByHand(this.#scene, act, await lookAtWorld(this.#d));
  }

  /** One `up`, ended early or not, and what is to say of it. */
  async #step(step: StepStory): Promise<void> {
    const before = await this.#configure(step, optInOf(this.#story, step));
    if (step.kill === null) {
      await this.#wholeUp(step, before);
      return;
    }
    const ended = await this.#killedUp(step.kill);
    await this.#tellProgress();
    this.#scene.midway = true;
    this.#say(before, await lookAtWorld(this.#d), false);
    if (ended) this.#tell("the run had ended by itself");
    await this.#byHand(step.afterKill);
  }

  /** Writes the config and notes what it permits. */
  async #configure(step: StepStory, optIn: Record<string, string[]>): Promise<World> {
    const config = configOf(this.#d, this.#story, step, optIn);
    await this.#stack.setHosts(config);
    this.#tell(`config: ${JSON.stringify({ agent: step.agent, optIn })}`);
    const refs = (names: string[] | undefined): string[] => (names ?? []).map((name) => this.#refOf(name));
    for (const names of Object.values(optIn)) for (const ref of refs(names)) this.#involved.add(ref);
    for (const ref of refs(optIn["undo"])) this.#optIn.undone.add(ref);
    for (const ref of refs(optIn["removeParked"])) this.#optIn.removable.add(ref);
    const world = await lookAtWorld(this.#d);
    this.#remember(world);
    return world;
  }

  /** What is seen under a container's own name before a run is what it has to be after it. */
  #remember(world: World): void {
    for (const ref of this.#involved) {
      const seen = world.instances.get(ref);
      if (!seen) continue;
      const known = this.#memories.get(ref);
      // A run that was struck after the stop leaves it stopped.
      const status = this.#scene.midway && known ? known.status : seen.status;
      this.#memories.set(ref, { seen, status });
    }
  }

  /** An `up` that ends by itself: what plan said, what up did and what a second up does must agree. */
  async #wholeUp(step: StepStory, before: World): Promise<RunResult> {
    const plan = await this.#plan();
    this.#isMoreToCome = plan.isMoreToCome;
    const up = await this.#stack.up({ timeoutMs: LONGEST_RUN });
    const refused = plan.exitCode === 1;
    const after = await lookAtWorld(this.#d);
    await this.#tellProgress();
    this.#tell(`plan: ${plan.exitCode} ${plan.actions.join(", ")}; up: ${up.exitCode}`);
    if (up.exitCode !== 0) this.#tell(`up said: ${errorsOf(up).slice(0, 1_500)}`);
    this.#compare(plan, up, changesBetween(before, after));
    this.#say(before, after, !refused && up.exitCode === 0);
    if (up.exitCode === 0) {
      this.#faults.push(...(await judgeAgent(this.#d, step.agent)));
      this.#settled();
    }
    return up;
  }

  /** Nothing of an earlier run is under way any more. */
  #settled(): void {
    this.#scene.midway = false;
    this.#scene.hands.undecided.clear();
    this.#optIn = { undone: new Set(), removable: new Set() };
  }

  #compare(plan: PlanResult, up: RunResult, changes: string[]): void {
    const noisy = (what: string): void => void this.#faults.push({ kind: "noisy", what });
    if (plan.exitCode === 1 && up.exitCode === 0) noisy(`plan refuses, up does not: ${plan.text}`);
    if (plan.exitCode !== 1 && up.exitCode !== 0)
      noisy(`plan ended with ${plan.exitCode}, up fails: ${errorsOf(up)}`);
    if (plan.exitCode === 0 && changes.length > 0)
      noisy(`plan says "nothing to do", up did: ${changes.join("; ")}`);
    if (plan.exitCode === 2 && up.exitCode === 0 && changes.length === 0)
      noisy(`plan says ${plan.actions.join(", ")}, up changed nothing`);
  }

  #say(before: World, after: World, settled: boolean): void {
    const { hands } = this.#scene;
    const mayRepoint = this.#involved.size > 0;
    const faults = judge({
      ...{ hands, before, after, settled, mayRepoint, memories: this.#memories },
      ...{ involved: this.#involved, ...this.#optIn },
    });
    this.#faults.push(...faults);
  }

  /** Starts an `up` and strikes it. @returns whether it had ended before */
  async #killedUp(kill: KillStory): Promise<boolean> {
    this.#tell(`up, ${kill.whom} killed ${kill.delay} ms after "${kill.phase}"`);
    const earlier = (await logsOf(this.#stack)).length;
    const run = this.#stack.startUp({ timeoutMs: LONGEST_RUN });
    try {
      const ended = await this.#untilSaid(run, kill.phase, kill.delay, earlier);
      if (ended) return true;
      await strike(run, kill.whom);
    } finally {
      await run.cleanUp();
      await this.#stack.cancel();
    }
    return false;
  }

  /** What the newest run has said of containers, for the story. */
  async #tellProgress(): Promise<void> {
    const said = (await newestLog(this.#stack)).matchAll(/"message":"[^"]*?(board: [^"\\]+)/g);
    for (const line of new Set([...said].map(([, text = ""]) => text))) this.#tell(`said: ${line}`);
  }

  async #untilSaid(run: PulumiRun, phase: string, ms: number, earlier: number): Promise<boolean> {
    let ended = false;
    const end = run.result.then(
      () => {
        ended = true;
      },
      () => {
        ended = true;
      },
    );
    const said = async (): Promise<boolean> => (await newestLog(this.#stack, earlier)).includes(phase);
    while (!ended && !(await said())) await delay(20);
    await Promise.race([delay(ms), end]);
    return ended;
  }

  /** After the last step: one `up` to its end, where that is refused one without opt-ins, and one with nothing to do. */
  async #settle(step: StepStory): Promise<void> {
    const optIn = optInOf(this.#story, step);
    let up = await this.#wholeUp(step, await this.#configure(step, optIn));
    // What a run has parked itself goes with the next one, which its plan has announced.
    if (up.exitCode === 0 && this.#isMoreToCome)
      up = await this.#wholeUp(step, await this.#configure(step, optIn));
    if (up.exitCode !== 0) {
      this.#tell("refused: once more without opt-ins");
      up = await this.#wholeUp(step, await this.#configure(step, {}));
      if (up.exitCode !== 0)
        this.#faults.push({ kind: "stuck", what: `up fails without opt-ins: ${errorsOf(up)}` });
    }
    if (this.#faults.length > 0) return;
    const before = await lookAtWorld(this.#d);
    const plan = await this.#plan();
    const quiet = await this.#stack.up({ timeoutMs: LONGEST_RUN });
    const changes = [...changesOf(quiet), ...changesBetween(before, await lookAtWorld(this.#d))];
    if (changes.length > 0) this.#faults.push({ kind: "noisy", what: `a second up: ${changes.join("; ")}` });
    if (quiet.exitCode !== 0)
      this.#faults.push({ kind: "stuck", what: `a second up fails: ${errorsOf(quiet)}` });
    if (plan.exitCode !== 0)
      this.#faults.push({
        kind: "noisy",
        what: `plan before a second up ends with ${plan.exitCode}: ${plan.text}`,
      });
  }

  async #plan(): Promise<PlanResult> {
    const args = [
      "infra/commands/plan-command.ts",
      "--config-file",
      this.#stack.configFile,
      "--stack",
      "torture",
    ];
    const { exitCode, stdout, stderr } = await execa("node", [...args, "--format", "json"], {
      ...{ cwd: projectRoot, reject: false, stdin: "ignore", timeout: 60_000 },
    });
    if (exitCode === undefined || stdout === "")
      return { exitCode: exitCode ?? -1, actions: [], text: stderr, isMoreToCome: false };
    const { hosts } = JSON.parse(stdout) as Plan;
    const actions = hosts.flatMap((host) => host.actions.map(({ kind, object }) => `${kind} ${object}`));
    const refusals = hosts.flatMap((host) =>
      host.refusals
        .filter(({ severity }) => severity === "error")
        .map(({ object, reason }) => `${object}: ${reason}`),
    );
    const isMoreToCome = hosts.some((host) => host.refusals.some(({ remedy }) => /next run\.$/.test(remedy)));
    return { exitCode, actions, text: [...actions, ...refusals].join("; "), isMoreToCome };
  }
}

type PlanResult = {
  exitCode: number;
  actions: string[];
  text: string;
  /** It says that something goes with the next run. */
  isMoreToCome: boolean;
};

async function strike(run: PulumiRun, whom: KillStory["whom"]): Promise<void> {
  if (whom === "cli") {
    run.killCli();
    // The provider has a moment to notice, or not.
    await delay(500);
  } else if (whom === "provider") {
    await run.killProvider();
    await run.result.catch(() => undefined);
  }
}

/** Event logs of the stack's runs, the newest first. */
async function logsOf(stack: TestStack): Promise<string[]> {
  const numberOf = (name: string): number => Number(/^events-(\d+)-/.exec(name)?.[1]);
  const logs = (await readdir(stack.dir)).filter((name) => /^events-\d+-/.test(name));
  return logs.sort((a, b) => numberOf(b) - numberOf(a));
}

/** Text of the newest log; empty while there are only those of `earlier` runs. */
async function newestLog(stack: TestStack, earlier = 0): Promise<string> {
  const logs = await logsOf(stack);
  const [newest] = logs.length > earlier ? logs : [];
  return newest === undefined ? "" : readFile(join(stack.dir, newest), "utf8");
}

/** What differs on the host between two looks; what Incus writes at each start is left out. */
function changesBetween(before: World, after: World): string[] {
  const changes: string[] = [];
  for (const ref of new Set([...before.instances.keys(), ...after.instances.keys()])) {
    const [was, is] = [before.instances.get(ref), after.instances.get(ref)];
    if (!was || !is) changes.push(`${ref} ${was ? "gone" : "new"}`);
    else if (was.status !== is.status || was.pid !== is.pid) changes.push(`${ref} ${is.status}`);
    else if (was.whole !== is.whole) changes.push(`${ref}: ${firstDifference(was.whole, is.whole)}`);
    else {
      const [first] = differences(was, is);
      if (first !== undefined) changes.push(`${ref}: ${first}`);
    }
  }
  for (const name of new Set([...before.objects.keys(), ...after.objects.keys()])) {
    const [was, is] = [before.objects.get(name), after.objects.get(name)];
    if (was === undefined || is === undefined) changes.push(`${name} ${was === undefined ? "new" : "gone"}`);
    else if (was !== is) changes.push(`${name}: ${firstDifference(was, is)}`);
  }
  return changes;
}
