import { isDeepStrictEqual } from "node:util";
import { clientFor, get } from "@taos-hosts/providers";
import type { IncusDaemon } from "../testbed/daemon.ts";

type Json = Record<string, unknown>;
type Kind = Parameters<typeof get>[0];

/** What `up` did: what Pulumi calls the step. */
export type Op = "create" | "same" | "update" | "replace";

/** One resource taken through its life as Pulumi's engine takes it, without the engine. */
export class TestResource {
  readonly #kind: Kind;
  readonly #common: Json;
  #id = "";
  #inputs: Json = {};
  /** Outputs as Pulumi would keep them; undefined where it knows of no such object. */
  state: Json | undefined;

  constructor(d: IncusDaemon, kind: Kind, name: string) {
    this.#kind = kind;
    const host = { name: "orange", connection: `unix:${d.socketPath}` };
    this.#common = { host, owner: `p/s/orange/${name}` };
  }

  /** `pulumi up`: check, then create, update, replace or nothing. @throws what the provider throws, or what check refuses */
  async up(args: Json): Promise<Op> {
    await this.#forgetAnswers();
    const provider = get(this.#kind);
    const news: Json = { ...this.#common, ...args, __provider: "text" };
    const { inputs, failures } = await provider.check(this.#inputs, news);
    if (failures.length > 0) throw new Error(failures.map(({ reason }) => reason).join("\n"));
    const wanted = inputs as Json;
    if (!this.state) return this.#create(wanted);
    const diff = await provider.diff(this.#id, this.state, wanted);
    if (!diff.changes) return "same";
    if (diff.replaces.length > 0) {
      await provider.delete(this.#id, this.state);
      this.state = undefined;
      await this.#create(wanted);
      return "replace";
    }
    try {
      const { outs } = await provider.update(this.#id, this.state, wanted);
      this.#keep(outs, wanted);
    } catch (error) {
      this.#keepPartial(error, wanted);
      throw error;
    }
    return "update";
  }

  /** `pulumi refresh`. @returns whether it shows drift */
  async refresh(): Promise<boolean> {
    await this.#forgetAnswers();
    const { id, props } = await get(this.#kind).read(this.#id, this.state);
    if (id === "") {
      this.state = undefined;
      return true;
    }
    this.state = plain(props);
    return (await get(this.#kind).diff(id, this.state, this.#inputs)).changes;
  }

  /** `pulumi destroy`. */
  async destroy(): Promise<void> {
    await this.#forgetAnswers();
    if (this.state) await get(this.#kind).delete(this.#id, this.state);
    this.state = undefined;
  }

  /** What happens when a run is killed between Incus' answer and Pulumi's state: it knows of nothing. */
  forget(): void {
    this.state = undefined;
  }

  async #create(inputs: Json): Promise<Op> {
    try {
      const { id, outs } = await get(this.#kind).create(inputs);
      this.#id = id;
      this.#keep(outs, inputs);
    } catch (error) {
      this.#keepPartial(error, inputs);
      throw error;
    }
    return "create";
  }

  /** As DP adds it to successful answers (cmd/dynamic-provider/index.js). */
  #keep(outs: unknown, inputs: Json): void {
    this.state = { ...plain(outs), __provider: inputs["__provider"] };
    this.#inputs = inputs;
  }

  #keepPartial(error: unknown, inputs: Json): void {
    if (!(error instanceof Error && "id" in error && "properties" in error)) return;
    this.#id = String(error.id);
    this.state = plain(error.properties);
    this.#inputs = inputs;
  }

  /** Answers about the host are shared for a second; between two runs there is more. */
  async #forgetAnswers(): Promise<void> {
    await clientFor(this.#common["host"] as Parameters<typeof clientFor>[0]).close();
  }
}

/** Outputs survive JSON: what does not is an orphan in Pulumi (an object made, nothing in state). */
function plain(outs: unknown): Json {
  const copy = JSON.parse(JSON.stringify(outs)) as Json;
  if (!isDeepStrictEqual(copy, outs)) throw new Error(`No plain JSON: ${JSON.stringify(outs)}`);
  return copy;
}
