import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { KINDS, shimText } from "../../providers/pulumi/shim.ts";
import { projectRoot } from "./cli.ts";

type Json = Record<string, unknown>;

/** A protobuf message: setters and getters by name. */
type Message = Record<string, (...args: never[]) => unknown>;
type Call = (request: object, callback: (error: RpcError | null, response: Message) => void) => void;
type Struct = { fromJavaScript(value: object): object };
type RpcError = Error & { details: string; metadata: { get(key: string): unknown[] } };

// Pulumi's own gRPC and messages, as the dynamic provider on the other side uses them.
const load = createRequire(join(projectRoot, "node_modules/@pulumi/pulumi/package.json"));
const { ResourceProviderClient } = load("./proto/provider_grpc_pb.js") as {
  ResourceProviderClient: new (
    address: string,
    credentials: object,
  ) => Record<string, Call> & { close(): void };
};
const messages = load("./proto/provider_pb.js") as Record<string, new () => Message> & {
  ErrorResourceInitFailed: { deserializeBinary(bytes: Uint8Array): Message };
};
const { Status } = load("./proto/status_pb.js") as {
  Status: { deserializeBinary(bytes: Uint8Array): Message };
};
const { Struct } = load("google-protobuf/google/protobuf/struct_pb.js") as { Struct: Struct };
const { credentials } = load("@grpc/grpc-js") as { credentials: { createInsecure(): object } };

/** An error answer; `partial` where the object was made but is not as wanted, as Pulumi keeps it. */
export class ProviderError extends Error {
  readonly partial: { id: string; properties: Json; reasons: string[] } | undefined;

  constructor(message: string, partial?: { id: string; properties: Json; reasons: string[] }) {
    super(message);
    this.partial = partial;
  }
}

/** Pulumi's dynamic provider in a plain Node process, driven as the engine does. Properties carry `__provider`. */
export class ProviderProcess {
  readonly #child: ChildProcess;
  readonly #client: Record<string, Call> & { close(): void };
  readonly #texts: Record<string, string>;
  /** Everything the process wrote. */
  readonly log: string[] = [];

  constructor(child: ChildProcess, port: string, texts: Record<string, string>) {
    this.#child = child;
    this.#client = new ResourceProviderClient(`127.0.0.1:${port}`, credentials.createInsecure());
    this.#texts = texts;
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (data) => this.log.push(String(data)));
  }

  /** Properties with the kind's serialized code, as the SDK sends them. */
  of(kind: string, properties: Json): Json {
    return { ...properties, __provider: this.#texts[kind] };
  }

  async configure(): Promise<void> {
    await this.#call("configure", "ConfigureRequest", { Args: struct({}) });
  }

  async check(
    olds: Json,
    news: Json,
  ): Promise<{ inputs: Json; failures: { property: string; reason: string }[] }> {
    const answer = await this.#call("check", "CheckRequest", { Olds: struct(olds), News: struct(news) });
    const failures = get<Message[]>(answer, "getFailuresList");
    return {
      inputs: properties(answer, "getInputs"),
      failures: failures.map((one) => ({ property: get(one, "getProperty"), reason: get(one, "getReason") })),
    };
  }

  async diff(id: string, olds: Json, news: Json): Promise<{ changes: boolean; replaces: string[] }> {
    const answer = await this.#call("diff", "DiffRequest", {
      Id: id,
      Olds: struct(olds),
      News: struct(news),
    });
    return { changes: get<number>(answer, "getChanges") === 2, replaces: get(answer, "getReplacesList") };
  }

  async create(news: Json): Promise<{ id: string; properties: Json }> {
    const answer = await this.#call("create", "CreateRequest", { Properties: struct(news) });
    return { id: get(answer, "getId"), properties: properties(answer, "getProperties") };
  }

  async read(id: string, olds: Json): Promise<{ id: string; properties: Json }> {
    const answer = await this.#call("read", "ReadRequest", { Id: id, Properties: struct(olds) });
    return { id: get(answer, "getId"), properties: properties(answer, "getProperties") };
  }

  async update(id: string, olds: Json, news: Json): Promise<Json> {
    const answer = await this.#call("update", "UpdateRequest", {
      Id: id,
      Olds: struct(olds),
      News: struct(news),
    });
    return properties(answer, "getProperties");
  }

  async delete(id: string, olds: Json): Promise<void> {
    await this.#call("delete", "DeleteRequest", { Id: id, Properties: struct(olds) });
  }

  async stop(): Promise<void> {
    this.#client.close();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }

  #call(method: string, type: string, fields: Record<string, unknown>): Promise<Message> {
    const request = new (messages[type] as new () => Message)();
    for (const [name, value] of Object.entries(fields)) request[`set${name}`]?.(value as never);
    return new Promise((resolve, reject) => {
      this.#client[method]?.(request, (error, response) =>
        error ? reject(explain(error)) : resolve(response),
      );
    });
  }
}

/** Starts the process in infra/, where Pulumi starts it. */
export async function startProvider(extraEnv: Record<string, string> = {}): Promise<ProviderProcess> {
  const texts = Object.fromEntries(KINDS.map((kind) => [kind, shimText(kind)]));
  const script = join(projectRoot, "node_modules/@pulumi/pulumi/cmd/dynamic-provider/index.js");
  const child = spawn(process.execPath, [script, "127.0.0.1:1"], {
    cwd: join(projectRoot, "infra"),
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH: process.env["PATH"],
      HOME: process.env["HOME"],
      PULUMI_NODEJS_PROJECT: "taos-hosts",
      ...extraEnv,
    },
  });
  const [port] = (await once(createInterface({ input: child.stdout }), "line", {
    signal: AbortSignal.timeout(30_000),
  })) as [string];
  const provider = new ProviderProcess(child, port, texts);
  await provider.configure();
  return provider;
}

function struct(value: Json): object {
  return Struct.fromJavaScript(value);
}

function get<T>(message: Message, getter: string): T {
  return message[getter]?.() as T;
}

function properties(message: Message, getter: string): Json {
  return get<{ toJavaScript(): Json } | undefined>(message, getter)?.toJavaScript() ?? {};
}

/** Reads what the provider packed into the error's details for a partial failure. */
function explain(error: RpcError): ProviderError {
  const [packed] = error.metadata.get("grpc-status-details-bin");
  if (!(packed instanceof Uint8Array)) return new ProviderError(error.details);
  const status = Status.deserializeBinary(packed);
  const [any] = get<Message[]>(status, "getDetailsList");
  if (!any) return new ProviderError(error.details);
  const detail = messages.ErrorResourceInitFailed.deserializeBinary(get(any, "getValue_asU8"));
  return new ProviderError(error.details, {
    id: get(detail, "getId"),
    properties: properties(detail, "getProperties"),
    reasons: get(detail, "getReasonsList"),
  });
}
