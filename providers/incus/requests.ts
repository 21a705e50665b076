import type { Dispatcher } from "undici";
import type { z } from "zod";
import {
  CancelledError,
  DeadlineError,
  IncusApiError,
  messageOf,
  UnreachableError,
  VisibleError,
} from "../common/errors.ts";
import { lifetimeSignal } from "../common/lifetime.ts";
import type { Endpoint, HostConnection } from "./connection.ts";
import { missingRight } from "./rights.ts";
import { Envelope } from "./schemas.ts";
import type { SshConnection } from "./ssh.ts";
import { openTransport } from "./transport.ts";

/** Deadline of a plain request, in milliseconds. Pool creation runs mkfs inside one and passes its own. */
export const REQUEST_DEADLINE = 60_000;

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
  signal?: AbortSignal | undefined;
}

export type WriteMethod = "POST" | "PUT" | "PATCH" | "DELETE";
type Method = "GET" | WriteMethod;

/** An answer of the API that is no error. */
interface Answer {
  envelope: z.infer<typeof Envelope>;
  etag: string | undefined;
}

/** HTTP requests to the daemon of one host, each with a deadline, over connections that are kept alive. */
export class Requests {
  private readonly host: HostConnection;
  private readonly endpoint: Endpoint;
  private readonly ssh: SshConnection | undefined;
  /** Opened by the first request. */
  private pool: Promise<Dispatcher> | undefined;

  constructor(host: HostConnection, endpoint: Endpoint, ssh: SshConnection | undefined) {
    this.host = host;
    this.endpoint = endpoint;
    this.ssh = ssh;
  }

  async close(): Promise<void> {
    const pool = await this.pool?.catch(() => undefined);
    this.pool = undefined;
    await pool?.close();
  }

  /** @throws IncusApiError, UnreachableError, DeadlineError; CancelledError or what the signal was aborted with */
  async send(method: Method, path: string, options: RequestOptions = {}): Promise<Answer> {
    const { response, explain } = await this.dispatch(method, path, options);
    const text = await response.body.text().catch((error: unknown) => {
      throw explain(error);
    });
    const envelope = envelopeIn(text);
    if (!envelope) throw this.refusal(method, path, response.statusCode, "an answer that is no Incus answer");
    if (envelope.type === "error" || response.statusCode >= 400)
      throw this.refusal(method, path, envelope.error_code || response.statusCode, envelope.error);
    const etag = response.headers["etag"];
    return { envelope, etag: typeof etag === "string" ? etag : undefined };
  }

  /** The raw answer to a GET (a file of an instance, a backup). The caller consumes the body. */
  async stream(path: string, options: RequestOptions): Promise<Dispatcher.ResponseData> {
    const { response } = await this.dispatch("GET", path, options);
    if (response.statusCode === 200) return response;
    const envelope = envelopeIn(await response.body.text());
    throw this.refusal("GET", path, response.statusCode, envelope?.error ?? "no reason given");
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
      const request = { path: `${path}${search}`, method, headers, body, signal };
      const pool = await unlessAborted(this.openPool(), signal);
      return { response: await pool.request(request), explain };
    } catch (error) {
      throw explain(error);
    }
  }

  private openPool(): Promise<Dispatcher> {
    this.pool ??= openTransport(this.endpoint, this.ssh).catch((error: unknown) => {
      this.pool = undefined;
      throw error;
    });
    return this.pool;
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

  private refusal(method: Method, path: string, status: number, reason: string): IncusApiError {
    const request = `${method} ${path} on host "${this.host.name}"`;
    return new IncusApiError(request, status, reason, missingRight(method, path, reason));
  }

  private describeEndpoint(): string {
    if (this.endpoint.kind === "unix") return this.endpoint.socketPath;
    if (this.endpoint.kind === "ssh") return this.host.connection;
    return this.endpoint.addresses.map(({ host, port }) => `https://${host}:${port}`).join(", ");
  }

  private remedy(error: unknown): string {
    if (this.endpoint.kind !== "unix") return "";
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "EACCES") return ' The user must be in group "incus-admin", or be root.';
    if (code === "ENOENT" || code === "ECONNREFUSED") return " Is Incus installed and running there?";
    return "";
  }
}

/** Waits no longer than the signal lets; what is waited for goes on. @throws the signal's reason */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  return Promise.race([promise, aborted]);
}

function envelopeIn(text: string): z.infer<typeof Envelope> | undefined {
  try {
    return Envelope.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
