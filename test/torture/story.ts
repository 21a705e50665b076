import fc from "fast-check";

/** A container that is on the host before the stack comes to it. */
export type ContainerStory = {
  name: string;
  /** In project `side` instead of `default`. */
  aside: boolean;
  running: boolean;
  snapshots: number;
  /** A root disk device of its own. */
  ownRoot: boolean;
  /** In the stack's config, under containers. */
  listed: boolean;
  /** Hardlinks, sparse files, xattrs, capabilities, names that are no UTF-8. */
  oddFiles: boolean;
  autostart: boolean;
};

/** What a person does by hand. `pick` chooses among what is there then. */
export type HandAct = { kind: (typeof HAND_ACTS)[number]; pick: number };

const HAND_ACTS = [
  "copy",
  "copy",
  "copy snapshot",
  "copy a parked or half-made one",
  "rename a parked one",
  "rename one that is not listed",
  "snapshot",
  "restore",
  "delete a snapshot",
  "start or stop",
  "write",
  "write",
  "set a config key",
  "delete one that is not listed",
] as const;

/** What the config says of the stack's own agent in one step. */
export type AgentStory = {
  /** Absent: not in the config. */
  declared: boolean;
  memory: "none" | "256MiB" | "512MiB";
  environment: string;
  content: string;
  mode: "0600" | "0644" | "0755";
  note: string;
};

/** Where a run is struck: `delay` ms after it has said `phase`. */
export type KillStory = { whom: "cli" | "provider" | "all"; phase: string; delay: number };

/** By hand, then one `up` with these opt-ins, ended early or not. Numbers are positions among the listed containers. */
export type StepStory = {
  hand: HandAct[];
  migrate: number[];
  undo: number[];
  removeParked: number[];
  pinRoot: number[];
  agent: AgentStory;
  kill: KillStory | null;
  /** Right after the kill, before the next run. */
  afterKill: HandAct[];
};

/** Everything that one round does, as plain data: the same seed gives the same story. */
export type Story = {
  seed: number;
  side: "none" | "own profiles" | "shared profiles" | "limited" | "limited, low level allowed" | "restricted";
  /** Name of the root disk device in the profiles. */
  rootName: "root" | "disk0";
  /** The root disk comes from a second profile. */
  rootFromOther: boolean;
  containers: ContainerStory[];
  /** A container of project `side` has the name of the first one. */
  namesake: boolean;
  steps: StepStory[];
};

const NAMES = ["mary", "naira", "stanley", "orange"];

/** What a migration says, in this order; a run that never says it is not struck. */
const PHASES = [
  "What happens",
  "cloning base image",
  "copying",
  "live round 1 done",
  "stopping the container",
  "verified",
  "swapping: parking the source",
  "starting from pool",
  "healthy",
];

const handAct: fc.Arbitrary<HandAct> = fc.record({
  kind: fc.constantFrom(...HAND_ACTS),
  pick: fc.nat(1_000),
});

const agent: fc.Arbitrary<AgentStory> = fc.record({
  declared: fc.boolean(),
  memory: fc.constantFrom("none", "256MiB", "512MiB"),
  environment: fc.constantFrom("", "one", "two words"),
  content: fc.constantFrom("", "first\n", "second\n"),
  mode: fc.constantFrom("0600", "0644", "0755"),
  note: fc.constantFrom("", "noted"),
});

const kill: fc.Arbitrary<KillStory> = fc.record({
  whom: fc.constantFrom("cli", "provider", "all"),
  phase: fc.constantFrom(...PHASES),
  delay: fc.nat(700),
});

const some = fc.uniqueArray(fc.nat(NAMES.length - 1), { maxLength: 3 });
const few = fc.oneof(
  { weight: 3, arbitrary: fc.constant<number[]>([]) },
  { weight: 1, arbitrary: fc.uniqueArray(fc.nat(NAMES.length - 1), { minLength: 1, maxLength: 2 }) },
);

const step: fc.Arbitrary<StepStory> = fc.record({
  hand: fc.array(handAct, { maxLength: 3 }),
  migrate: some,
  undo: few,
  removeParked: few,
  pinRoot: few,
  agent,
  kill: fc.oneof(
    { weight: 2, arbitrary: kill },
    { weight: 1, arbitrary: fc.constant<KillStory | null>(null) },
  ),
  afterKill: fc.array(handAct, { maxLength: 2 }),
});

const container = (name: string): fc.Arbitrary<ContainerStory> =>
  fc.record({
    name: fc.constant(name),
    aside: fc.oneof({ weight: 2, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.boolean() }),
    running: fc.oneof({ weight: 2, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.boolean() }),
    snapshots: fc.nat(2),
    ownRoot: fc.oneof(
      { weight: 3, arbitrary: fc.constant(false) },
      { weight: 1, arbitrary: fc.constant(true) },
    ),
    listed: fc.oneof(
      { weight: 3, arbitrary: fc.constant(true) },
      { weight: 1, arbitrary: fc.constant(false) },
    ),
    oddFiles: fc.oneof({ weight: 2, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.boolean() }),
    autostart: fc.boolean(),
  });

const story: fc.Arbitrary<Omit<Story, "seed">> = fc.record({
  side: fc.constantFrom<Story["side"]>(
    "none",
    "own profiles",
    "shared profiles",
    "limited",
    "limited, low level allowed",
    "restricted",
  ),
  rootName: fc.constantFrom("root", "disk0"),
  rootFromOther: fc.oneof(
    { weight: 3, arbitrary: fc.constant(false) },
    { weight: 1, arbitrary: fc.constant(true) },
  ),
  containers: fc
    .integer({ min: 2, max: NAMES.length })
    .chain((count) => fc.tuple(...NAMES.slice(0, count).map(container))),
  namesake: fc.boolean(),
  steps: fc.array(step, { minLength: 1, maxLength: 3 }),
});

/** The story of a seed. */
export function storyOf(seed: number): Story {
  const [told] = fc.sample(story, { seed, numRuns: 1 });
  if (!told) throw new Error(`No story for seed ${seed}`);
  return { seed, ...told };
}
