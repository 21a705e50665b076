import { randomUUID } from "node:crypto";
import { uptime } from "node:os";
import { z } from "zod";
import { UnreachableError, VisibleError } from "../../common/errors.ts";
import { poll } from "../../common/poll.ts";
import type { IncusClient } from "../../incus/client.ts";
import { type Change, changeInstance } from "../../incus/instance-patch.ts";
import { findInstance, type InstanceRef } from "../../incus/instances.ts";
import type { Instance } from "../../incus/schemas.ts";
import { Identity, identityOf, standingOf } from "../../marks/identity.ts";
import { LEASE_KEY } from "../../marks/keys.ts";
import type { Progress } from "../../pulumi/progress.ts";
import { isAlive, ownIdentity } from "./machine.ts";

/** Milliseconds between two signs of life. */
const BEAT = 5_000;
/** Milliseconds without a sign of life after which a run of another machine counts as dead. Four beats. */
const TIME_TO_LIVE = 20_000;
/**
 * Seconds after a proved sign of life in which nobody can have taken over, by a clock that goes on while this machine
 * sleeps. Less than the time to live: a write is on its way for a while.
 */
const SURE = 12;

const LeaseRecord = z.object({
  run: z.string(),
  machine: z.string(),
  pid: z.number(),
  started: z.string(),
  /** The instance that it is kept on. */
  ...Identity.partial().shape,
  /** Counts up; only a change is a sign of life, so clocks need not agree. */
  beat: z.number(),
});
type LeaseRecord = z.infer<typeof LeaseRecord>;

/** Another run took the migration over; this one must not write any more. */
export class LeaseLostError extends VisibleError {
  override readonly name = "LeaseLostError";
}

/**
 * The right of one run to work on one container, kept on the instance itself. A second run is refused while the
 * first shows signs of life; a dead one's lease is taken over, by any machine.
 */
export class Lease {
  readonly run = randomUUID();
  /** Aborts when another run has taken over. */
  readonly signal: AbortSignal;
  /** Where the lease is kept: follows the source through its renames. */
  ref: InstanceRef;
  private readonly client: IncusClient;
  private readonly controller = new AbortController();
  private readonly identity = ownIdentity();
  private beats = 0;
  private outlived: LeaseRecord | undefined;
  /** volatile.uuid of the container that it is for. */
  private container = "";
  /** When (uptime) the last sign of life that got through was begun. */
  private provenAt = Number.NEGATIVE_INFINITY;
  private isOver = false;
  private timer: NodeJS.Timeout | undefined;
  private beating: Promise<void> = Promise.resolve();

  constructor(client: IncusClient, ref: InstanceRef) {
    this.client = client;
    this.ref = ref;
    this.signal = this.controller.signal;
  }

  /** What this run's writers on the host are known by; up to the dot, those of any run on the same container. */
  get id(): string {
    return `${this.container}.${this.run}`;
  }

  /** The beginning of {@link id} that writers of all runs on this container share. */
  get anyId(): string {
    return `${this.container}.`;
  }

  /**
   * Proves that this run may still write. Costs nothing while signs of life get through; a process that was frozen, or
   * whose machine slept, asks the host.
   * @throws LeaseLostError; UnreachableError where it cannot be told at this moment
   */
  async prove(): Promise<void> {
    this.signal.throwIfAborted();
    if (this.isOver || uptime() - this.provenAt < SURE) return;
    const begun = uptime();
    const found = await findInstance(this.client, this.ref);
    if (!found) throw new UnreachableError(`"${this.ref.name}" cannot be seen at this moment.`);
    if (this.wasHeld) this.assertHeld(found.value);
    else this.assertFree(found.value);
    this.provenAt = begun;
  }

  /**
   * Waits, up to 20 s, to see whether the holder, if there is one, still lives. Writes nothing.
   * @throws VisibleError where another run is at work
   */
  async outliveHolder(progress: Progress): Promise<void> {
    this.provenAt = Number.NEGATIVE_INFINITY;
    const begun = uptime();
    const holder = await this.currentHolder();
    if (!holder) this.provenAt = begun;
    if (!holder || holder.run === this.run || isSame(holder, this.outlived)) return;
    await this.outlive(holder, progress);
    this.outlived = holder;
  }

  /**
   * Takes the lease, after `outliveHolder`.
   * @throws VisibleError where another run is at work
   */
  async acquire(progress: Progress): Promise<void> {
    await this.outliveHolder(progress);
    const begun = uptime();
    await changeInstance(this.client, this.ref, (instance) => {
      this.assertFree(instance);
      return { config: this.entry(instance) };
    });
    this.provenAt = begun;
    this.isOver = false;
    clearInterval(this.timer);
    this.timer = setInterval(() => {
      this.beating = this.beating.then(() => this.renew());
    }, BEAT);
    this.timer.unref();
  }

  /** Config entry that keeps the lease on the instance; part of every write to the source. */
  entry(instance: Instance): Record<string, string> {
    const { machine, pid, started } = this.identity;
    const beat = ++this.beats;
    const record: LeaseRecord = { run: this.run, machine, pid, started, beat, ...identityOf(instance) };
    return { [LEASE_KEY]: JSON.stringify(record) };
  }

  /** @throws LeaseLostError where `instance` carries another run's lease */
  assertHeld(instance: Instance): void {
    const now = leaseOf(instance);
    if (now?.run === this.run) return;
    const lost = new LeaseLostError(
      now
        ? `Another run took over the migration of "${this.ref.name}". This one stops here; that one finishes it.`
        : `"${this.ref.name}" does not carry the mark of this run any more: a snapshot of it was restored, or its config replaced. This run stops here. Run again.`,
    );
    this.controller.abort(lost);
    throw lost;
  }

  /** Nobody has it, or this run, or one that it has outlived. @throws VisibleError */
  private assertFree(instance: Instance): void {
    const now = leaseOf(instance);
    if (now && now.run !== this.run && !isSame(now, this.outlived)) throw this.refusal(now);
  }

  /** It was taken off, in the write that left nothing for another run to take over: what follows needs none. */
  end(): void {
    this.isOver = true;
  }

  /** Whether it has been taken at any time: before that nothing is written to the container. */
  get wasHeld(): boolean {
    return this.timer !== undefined;
  }

  /** Ends the signs of life and removes the lease: the next run need not wait. What is unfinished is in the journal. */
  async release(): Promise<void> {
    if (this.timer === undefined) return;
    clearInterval(this.timer);
    await this.beating;
    const remove = (instance: Instance): Change | undefined =>
      leaseOf(instance)?.run === this.run ? { config: { [LEASE_KEY]: "" } } : undefined;
    // A host that is away keeps the key. It hinders nobody: this process is gone soon.
    await changeInstance(this.client, this.ref, remove).catch(() => undefined);
  }

  private async renew(): Promise<void> {
    const begun = uptime();
    let isHeld = false;
    try {
      await changeInstance(this.client, this.ref, (instance) => {
        if (leaseOf(instance) === undefined) return undefined;
        this.assertHeld(instance);
        isHeld = true;
        return { config: this.entry(instance) };
      });
      if (isHeld) this.provenAt = begun;
    } catch {
      // A rename is under way or the host does not answer: the next beat tries again, writers check for themselves.
    }
  }

  private async currentHolder(): Promise<LeaseRecord | undefined> {
    const found = await findInstance(this.client, this.ref);
    if (found) this.container = identityOf(found.value).uuid;
    return found && leaseOf(found.value);
  }

  private async outlive(holder: LeaseRecord, progress: Progress): Promise<void> {
    const alive = isAlive(holder);
    if (alive === true) throw this.refusal(holder);
    if (alive === false) {
      progress("the run that worked on it before has died; taking over");
      return;
    }
    progress(
      `waiting up to ${TIME_TO_LIVE / 1000} s to see whether a run of another machine is at work on it`,
    );
    const other = await poll(
      async () => {
        const now = await this.currentHolder();
        return now && !isSame(now, holder) ? now : undefined;
      },
      { every: 1_000, deadline: TIME_TO_LIVE },
    );
    if (other) throw this.refusal(other);
    progress("the run of another machine shows no sign of life; taking over");
  }

  private refusal(holder: LeaseRecord): VisibleError {
    const where =
      isAlive(holder) === undefined ? "on another machine" : `process ${holder.pid} of this machine`;
    return new VisibleError(
      `Refusing to work on "${this.ref.name}": another run is at work on it (${where}). Wait for it to end, then run again.`,
    );
  }
}

/** Same run, and no sign of life in between. */
function isSame(one: LeaseRecord, other: LeaseRecord | undefined): boolean {
  return one.run === other?.run && one.beat === other.beat;
}

function leaseOf(instance: { config: Record<string, string> }): LeaseRecord | undefined {
  const text = instance.config[LEASE_KEY];
  if (!text) return undefined;
  try {
    const record = LeaseRecord.parse(JSON.parse(text));
    return standingOf(instance, record) === "own" ? record : undefined;
  } catch {
    // Written by another version: of a run that cannot be recognised, so it counts by its signs of life.
    return { run: text, machine: "", pid: 0, started: "", beat: 0 };
  }
}
