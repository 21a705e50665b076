import type { Dispatcher } from "undici";
import { z } from "zod";
import {
  CancelledError,
  DeadlineError,
  IncusApiError,
  isNotFound,
  messageOf,
  UnreachableError,
  VisibleError,
} from "../common/errors.ts";
import { lifetimeSignal } from "../common/lifetime.ts";
import { type Endpoint, type HostConnection, resolveEndpoint } from "./connection.ts";
import { Envelope, Operation } from "./schemas.ts";
import { SshConnection } from "./ssh.ts";
import { openTransport } from "./transport.ts";

/** Deadline of a plain request, in milliseconds. Pool creation runs mkfs inside one and passes its own. */
const REQUEST_DEADLINE = 60_000;
/** How long one long-poll of an operation stays open, in seconds; progress is looked at in between. */
const WAIT_SLICE = 2;

export interface RequestOptions {
  /** Query parameters; undefined ones are left out. */
  query?: Record<string, string | number | undefined>;
  /** JSON body. */
  body?: unknown;
  /** Raw body instead of JSON: a stream, buffer or form. */
  raw?: Exclude<Dispatcher.RequestOptions["body"], undefined>;
  headers?: Record<string, string>;
  /** Value for If-Match. A 412 answer then means that the object changed meanwhile. */
  etag?: string | undefined;
  /** Milliseconds until the request is given up. @default 60000 */
  deadline?: number;
  signal?: AbortSignal;
}

/** An object together with the etag that a later write sends along. */
export interface Versioned<T> {
  value: T;
  etag: string | undefined;
}

export interface WaitOptions {
  /** Milliseconds until the wait is given up; the operation itself goes on. */
  deadline: number;
  /** Called with the operation's metadata while it runs. */
  onProgress?: (metadata: Record<string, unknown>) => void;
  signal?: AbortSignal;
}

type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD";

const clients = new Map<string, IncusClient>();

/** The process's one client for this host: connections are kept alive and shared by all resources. */
export function clientFor(host: HostConnection): IncusClient {
  const key = JSON.stringify([host.connection, host.tls ?? {}]);
  const known = clients.get(key);
  if (known) return known;
  const client = new IncusClient(host);
  clients.set(key, client);
  return client;
}

/**
 * The Incus REST API of one host: requests with deadlines, answers parsed with zod, operations awaited.
 * Endpoints by object live beside this file (`pools.ts`, `instances.ts`, …) as functions over it.
 */
export class IncusClient {
  readonly host: HostConnection;
  readonly endpoint: Endpoint;
  /** The way to commands and files of the host; undefined where it is not reached over ssh. */
  readonly ssh: SshConnection | undefined;
  private readonly dispatcher: Dispatcher;
  private writes = 0;

  constructor(host: HostConnection) {
    this.host = host;
    this.endpoint = resolveEndpoint(host);
    this.ssh = this.endpoint.kind === "ssh" ? new SshConnection(this.endpoint) : undefined;
    this.dispatcher = openTransport(this.endpoint, this.ssh);
  }

  /** Identifies the host in lock keys. */
  get key(): string {
    return this.host.connection;
  }

  /** Counts the writes begun on this host by this process; a cached look is stale once it has moved. */
  get generation(): number {
    return this.writes;
  }

  /** Closes all connections. Only tests and commands need it; a provider process just ends. */
  async close(): Promise<void> {
    clients.forEach((client, key) => {
      if (client === this) clients.delete(key);
    });
    await this.dispatcher.close();
    await this.ssh?.close();
  }

  /** GET of an object, parsed. @throws IncusApiError (404 when absent), UnreachableError, DeadlineError */
  async get<S extends z.ZodType>(
    path: string,
    schema: S,
    options: RequestOptions = {},
  ): Promise<z.output<S>> {
    return (await this.getVersioned(path, schema, options)).value;
  }

  /** GET of a list, parsed. Incus sends null for an empty one. */
  async list<S extends z.ZodType>(
    path: string,
    item: S,
    options: RequestOptions = {},
  ): Promise<z.output<S>[]> {
    return (await this.get(path, z.array(item).nullable(), options)) ?? [];
  }

  /** GET of an object with its etag. */
  async getVersioned<S extends z.ZodType>(
    path: string,
    schema: S,
    options: RequestOptions = {},
  ): Promise<Versioned<z.output<S>>> {
    const { envelope, etag } = await this.send("GET", path, options);
    const parsed = schema.safeParse(envelope.metadata);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw new VisibleError(
        `Host "${this.host.name}": unexpected answer to GET ${path} at ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}. This Incus may be too new or too old for taos-hosts.`,
      );
    }
    return { value: parsed.data, etag };
  }

  /** The same, or undefined where there is no such object. */
  async find<S extends z.ZodType>(
    path: string,
    schema: S,
    options: RequestOptions = {},
  ): Promise<Versioned<z.output<S>> | undefined> {
    return noneWhereMissing(this.getVersioned(path, schema, options));
  }

  /** A write that is done when it is answered. */
  async write(
    method: Exclude<Method, "GET" | "HEAD">,
    path: string,
    options: RequestOptions = {},
  ): Promise<void> {
    this.writes += 1;
    try {
      const { envelope } = await this.send(method, path, options);
      if (envelope.type === "async") {
        await this.wait(Operation.parse(envelope.metadata), {
          deadline: options.deadline ?? REQUEST_DEADLINE,
        });
      }
    } finally {
      this.writes += 1;
    }
  }

  /** A write that starts an operation; returns it at once. */
  async start(
    method: Exclude<Method, "GET" | "HEAD">,
    path: string,
    options: RequestOptions = {},
  ): Promise<Operation> {
    this.writes += 1;
    const { envelope } = await this.send(method, path, options);
    if (envelope.type !== "async") {
      throw new VisibleError(`Host "${this.host.name}": ${method} ${path} answered without an operation.`);
    }
    return Operation.parse(envelope.metadata);
  }

  /** Starts an operation and waits for its end. @throws IncusApiError with the operation's own error */
  async run(
    method: Exclude<Method, "GET" | "HEAD">,
    path: string,
    options: RequestOptions & { wait: WaitOptions },
  ): Promise<Operation> {
    const operation = await this.start(method, path, options);
    return this.wait(operation, options.wait);
  }

  /**
   * Waits for an operation in long-poll slices. A finished operation vanishes after 5 s (Incus operations.go), so a
   * 404 after a lost connection leaves the outcome unknown: the caller observes the object again.
   * @throws DeadlineError, IncusApiError, UnreachableError
   */
  async wait(operation: Operation, options: WaitOptions): Promise<Operation> {
    const end = Date.now() + options.deadline;
    let current = operation;
    try {
      while (current.status_code < 200) {
        const left = end - Date.now();
        if (left <= 0) {
          throw new DeadlineError(
            `Host "${this.host.name}": an operation (${operation.id}) did not end within ${Math.round(options.deadline / 1000)} s.`,
          );
        }
        const timeout = Math.max(1, Math.min(WAIT_SLICE, Math.ceil(left / 1000)));
        current = await this.waitSlice(operation.id, timeout, options.signal);
        if (current.status_code < 200) options.onProgress?.(current.metadata);
      }
    } finally {
      this.writes += 1;
    }
    if (current.status_code !== 200) {
      throw new IncusApiError(
        `operation ${operation.id} on host "${this.host.name}"`,
        current.status_code,
        current.err,
      );
    }
    return current;
  }

  private async waitSlice(id: string, seconds: number, signal: AbortSignal | undefined): Promise<Operation> {
    const abort = signal ? { signal } : {};
    try {
      const deadline = (seconds + 30) * 1000;
      return await this.get(`/1.0/operations/${id}/wait`, Operation, {
        query: { timeout: seconds },
        deadline,
        ...abort,
      });
    } catch (error) {
      // Incus 6.0 answers a slice that passed with 500; the operation itself tells whether it goes on.
      if (!(error instanceof IncusApiError) || error.status !== 500) throw error;
      return this.get(`/1.0/operations/${id}`, Operation, abort);
    }
  }

  /** The raw answer to a GET (a file of an instance, a backup). The caller consumes the body. */
  async stream(path: string, options: RequestOptions = {}): Promise<Dispatcher.ResponseData> {
    const { response } = await this.dispatch("GET", path, options);
    if (response.statusCode !== 200) {
      const text = await response.body.text();
      throw new IncusApiError(`GET ${path} on host "${this.host.name}"`, response.statusCode, reasonOf(text));
    }
    return response;
  }

  private async dispatch(
    method: Method,
    path: string,
    options: RequestOptions,
  ): Promise<{ response: Dispatcher.ResponseData; explain: (error: unknown) => Error }> {
    const deadline = AbortSignal.timeout(options.deadline ?? REQUEST_DEADLINE);
    const signals = [lifetimeSignal(), deadline];
    if (options.signal) signals.push(options.signal);
    const explain = (error: unknown): Error => this.explain(error, `${method} ${path}`, options, deadline);
    const query = new URLSearchParams();
    for (const [key, value] of Object.entries(options.query ?? {})) {
      if (value !== undefined) query.set(key, String(value));
    }
    const search = query.size > 0 ? `?${query}` : "";
    const headers: Record<string, string> = { ...options.headers };
    if (options.etag !== undefined) headers["if-match"] = options.etag;
    let body = options.raw ?? null;
    if (options.body !== undefined) {
      headers["content-type"] = "application/json";
      body = JSON.stringify(options.body);
    }
    try {
      const signal = AbortSignal.any(signals);
      const response = await this.dispatcher.request({
        path: `${path}${search}`,
        method,
        headers,
        body,
        signal,
      });
      return { response, explain };
    } catch (error) {
      throw explain(error);
    }
  }

  private explain(error: unknown, request: string, options: RequestOptions, deadline: AbortSignal): Error {
    if (lifetimeSignal().aborted) return lifetimeSignal().reason;
    if (options.signal?.aborted) {
      const reason: unknown = options.signal.reason;
      return reason instanceof VisibleError ? reason : new CancelledError(`Cancelled: ${request}.`);
    }
    const seconds = Math.round((options.deadline ?? REQUEST_DEADLINE) / 1000);
    if (deadline.aborted) {
      return new DeadlineError(`Host "${this.host.name}" did not answer ${request} within ${seconds} s.`);
    }
    return new UnreachableError(
      `Host "${this.host.name}" cannot be reached over ${this.describeEndpoint()}: ${this.ssh?.complaint() ?? messageOf(error)}.${this.remedy(error)}`,
      { cause: error },
    );
  }

  private describeEndpoint(): string {
    if (this.endpoint.kind === "unix") return this.endpoint.socketPath;
    if (this.endpoint.kind === "ssh") return this.host.connection;
    return `https://${this.endpoint.host}:${this.endpoint.port}`;
  }

  private remedy(error: unknown): string {
    if (this.endpoint.kind === "ssh") return "";
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "EACCES") return ' The user must be in group "incus-admin", or be root.';
    if (code === "ENOENT" || code === "ECONNREFUSED") return " Is Incus installed and running there?";
    return "";
  }

  private async send(
    method: Method,
    path: string,
    options: RequestOptions,
  ): Promise<{ envelope: z.infer<typeof Envelope>; etag: string | undefined }> {
    const { response, explain } = await this.dispatch(method, path, options);
    const text = await response.body.text().catch((error: unknown) => {
      throw explain(error);
    });
    const request = `${method} ${path} on host "${this.host.name}"`;
    const parsed = Envelope.safeParse(parseJson(text));
    if (!parsed.success)
      throw new IncusApiError(request, response.statusCode, "an answer that is no Incus answer");
    const envelope = parsed.data;
    if (envelope.type === "error" || response.statusCode >= 400) {
      throw new IncusApiError(request, envelope.error_code || response.statusCode, envelope.error);
    }
    const etag = response.headers["etag"];
    return { envelope, etag: typeof etag === "string" ? etag : undefined };
  }
}

/** Undefined instead of an error where there is no such object. */
export async function noneWhereMissing<T>(found: Promise<T>): Promise<T | undefined> {
  try {
    return await found;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function reasonOf(text: string): string {
  const parsed = Envelope.safeParse(parseJson(text));
  return parsed.success ? parsed.data.error : "no reason given";
}
