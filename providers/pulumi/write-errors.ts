import { IncusApiError, messageOf, VisibleError } from "../common/errors.ts";
import { clientFor, type IncusClient } from "../incus/client.ts";
import type { HostConnection } from "../incus/connection.ts";
import { PartialFailure } from "./lifecycle.ts";
import { Props, plain, withProvider } from "./props.ts";

/** Runs a write and turns what it throws into errors that Pulumi shows well and that lose nothing. */
export async function guarded<T>(
  kind: string,
  host: HostConnection,
  inputs: unknown,
  task: (client: IncusClient) => Promise<T>,
): Promise<T> {
  try {
    return await task(clientFor(host));
  } catch (thrown) {
    const error = withoutSecrets(thrown, secretsIn(inputs));
    if (error instanceof PartialFailure) {
      const failure = visible(kind, host, new VisibleError(error.message));
      throw Object.assign(failure, {
        id: error.id,
        properties: withProvider(inputs, plain(error.state)),
        reasons: [failure.message],
      });
    }
    throw visible(kind, host, error);
  }
}

/** Texts shorter than this are part of too much else to be a secret. */
const SHORTEST_SECRET = 4;

/** Texts of a resource's args that are secrets: values of the environment, content of files, and what `secretProps` names. */
function secretsIn(inputs: unknown): string[] {
  const { environment, files, secretProps, ...others } = Props.safeParse(inputs).data ?? {};
  const named = textsIn(secretProps);
  const contents = Array.isArray(files)
    ? files.flatMap(({ content, contentBase64 }) => textsIn([content, contentBase64]))
    : [];
  const found = [...textsIn(environment), ...contents, ...named.flatMap((name) => textsIn(others[name]))];
  // What is told anyway is none: a message would only lose the name of a pool.
  const told = new Set(textsIn(Object.entries(others).filter(([name]) => !named.includes(name))));
  const secrets = found.filter((text) => text.length >= SHORTEST_SECRET && !told.has(text));
  return secrets.sort((one, other) => other.length - one.length);
}

function textsIn(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(textsIn) : [];
}

/** An error whose message holds none of the secrets: Incus quotes values that it refuses. */
function withoutSecrets(error: unknown, secrets: readonly string[]): unknown {
  if (!(error instanceof Error) || !secrets.some((secret) => error.message.includes(secret))) return error;
  error.message = secrets.reduce((text, secret) => text.replaceAll(secret, "[secret]"), error.message);
  return error;
}

/** Error for the person: names the host, has no stack and no stray `id` field, which Pulumi would take for a partial failure. */
export function visible(kind: string, host: HostConnection, error: unknown): Error {
  const text = messageOf(error);
  const known = error instanceof VisibleError;
  const named = text.includes(`"${host.name}"`) ? text : `Host "${host.name}": ${text}`;
  const message = known || error instanceof IncusApiError ? named : `${kind}: unexpected error. ${named}`;
  const result = new Error(message);
  result.stack = message;
  return result;
}
