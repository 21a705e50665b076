import { z } from "zod";
import { DeadlineError, IncusApiError, isNotFound, VisibleError } from "../common/errors.ts";
import { type Endpoint, type HostConnection, resolveEndpoint } from "./connection.ts";
import { REQUEST_DEADLINE, type RequestOptions, Requests, type WriteMethod } from "./requests.ts";
import { Operation } from "./schemas.ts";
import { SshConnection } from "./ssh.ts";

/** How long one long-poll of an operation stays open, in seconds; progress is looked at in between. */
const WAIT_SLICE = 2;

/** An object together with the etag that a later write sends along. */
export interface Versioned<T> {
  value: T;
  etag: string | undefined;
}

/** What is looked for; undefined where there is no such object. */
export type Found<T> = Promise<Versioned<T> | undefined>;

export interface WaitOptions {
  /** Milliseconds until the wait is given up; the operation itself goes on. */
  deadline: number;
  /** Called with the operation's metadata while it runs. */
  onProgress?: (metadata: Record<string, unknown>) => void;
  signal?: AbortSignal | undefined;
}

const clients = new Map<string, IncusClient>();

/** The process's one client for this host: connections are kept alive and shared by all resources. */
export function clientFor(host: HostConnection): IncusClient {
  const key = JSON.stringify([host.connection, host.tls ?? {}]);
  const client = clients.get(key) ?? new IncusClient(host);
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
  readonly requests: Requests;
  /** Shared with the clients that are guarded. */
  private readonly count = { writes: 0 };
  private mayWrite: () => Promise<void> = async () => undefined;

  constructor(host: HostConnection) {
    this.host = host;
    this.endpoint = resolveEndpoint(host);
    this.ssh = this.endpoint.kind === "ssh" ? new SshConnection(this.endpoint) : undefined;
    this.requests = new Requests(host, this.endpoint, this.ssh);
  }

  /** Identifies the host in lock keys. */
  get key(): string {
    return this.host.connection;
  }

  /** Counts the writes begun on this host by this process; a cached look is stale once it has moved. */
  get generation(): number {
    return this.count.writes;
  }

  /** This client for a run that may lose its right to write: `mayWrite` is asked before each write, and throws then. */
  guardedBy(mayWrite: () => Promise<void>): IncusClient {
    const guarded: IncusClient = Object.create(this);
    guarded.mayWrite = mayWrite;
    return guarded;
  }

  /** Closes all connections. Only tests and commands need it; a provider process just ends. */
  async close(): Promise<void> {
    clients.forEach((client, key) => {
      if (client === this) clients.delete(key);
    });
    await this.requests.close();
    await this.ssh?.close();
  }

  /** GET of an object, parsed. @throws IncusApiError (404 when absent), UnreachableError, DeadlineError */
  async get<S extends z.ZodType>(path: string, schema: S, options?: RequestOptions): Promise<z.output<S>> {
    return (await this.getVersioned(path, schema, options)).value;
  }

  /** GET of a list, parsed. Incus sends null for an empty one. */
  async list<S extends z.ZodType>(path: string, item: S, options?: RequestOptions): Promise<z.output<S>[]> {
    return (await this.get(path, z.array(item).nullable(), options)) ?? [];
  }

  /** GET of an object with its etag. */
  async getVersioned<S extends z.ZodType>(
    path: string,
    schema: S,
    options?: RequestOptions,
  ): Promise<Versioned<z.output<S>>> {
    const { envelope, etag } = await this.requests.send("GET", path, options);
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
  find<S extends z.ZodType>(path: string, schema: S, options?: RequestOptions): Found<z.output<S>> {
    return noneWhereMissing(this.getVersioned(path, schema, options));
  }

  /** A write that is done when it is answered. */
  async write(method: WriteMethod, path: string, options?: RequestOptions): Promise<void> {
    await this.mayWrite();
    this.count.writes += 1;
    try {
      const { envelope } = await this.requests.send(method, path, options);
      const { deadline = REQUEST_DEADLINE } = options ?? {};
      if (envelope.type === "async") await this.wait(Operation.parse(envelope.metadata), { deadline });
    } finally {
      this.count.writes += 1;
    }
  }

  /** A write that starts an operation; returns it at once. */
  async start(method: WriteMethod, path: string, options?: RequestOptions): Promise<Operation> {
    await this.mayWrite();
    this.count.writes += 1;
    const { envelope } = await this.requests.send(method, path, options);
    if (envelope.type !== "async") {
      throw new VisibleError(`Host "${this.host.name}": ${method} ${path} answered without an operation.`);
    }
    return Operation.parse(envelope.metadata);
  }

  /** Starts an operation and waits for its end. @throws IncusApiError with the operation's own error */
  async run(
    method: WriteMethod,
    path: string,
    options: RequestOptions & { wait: WaitOptions },
  ): Promise<Operation> {
    return this.wait(await this.start(method, path, options), options.wait);
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
      this.count.writes += 1;
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
    const path = `/1.0/operations/${id}`;
    const query = { timeout: seconds };
    const deadline = (seconds + 30) * 1000;
    try {
      return await this.get(`${path}/wait`, Operation, { query, deadline, signal });
    } catch (error) {
      // Incus 6.0 answers a slice that passed with 500; the operation itself tells whether it goes on.
      if (!(error instanceof IncusApiError) || error.status !== 500) throw error;
      return this.get(path, Operation, { signal });
    }
  }
}

/** Undefined instead of an error where there is no such object. */
export function noneWhereMissing<T>(found: Promise<T>): Promise<T | undefined> {
  return found.catch((error: unknown) => {
    if (isNotFound(error)) return undefined;
    throw error;
  });
}
