import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { messageOf, VisibleError } from "../common/errors.ts";
import { clientDirectory } from "./certificates.ts";

/** A remote of the Incus client's own config. */
export interface Remote {
  /** `unix:` with or without a path, or https URLs of one daemon. */
  addresses: string[];
  project: string;
  /** The one certificate that the server may show. */
  serverCertificateFile: string;
  certificateFile: string;
  keyFile: string;
}

/** What is read of the client's `config.yml` (shared/cliconfig/remote.go); all else in it is left alone. */
const Config = z.object({
  remotes: z
    .record(
      z.string(),
      z.object({
        addr: z.string(),
        protocol: z.string().default("incus"),
        auth_type: z.string().default("tls"),
        project: z.string().default(""),
        public: z.boolean().default(false),
      }),
    )
    .nullish(),
});

/** Built into the client. */
const LOCAL = { addr: "unix://", protocol: "incus", auth_type: "tls", project: "", public: false };

/** Prefix of a connection that names a remote. */
export const REMOTE_PREFIX = "remote:";

/** Project of a host that names none: its remote's own, else `default`. @throws VisibleError as `readRemote` */
export function projectOf(connection: string, environment: NodeJS.ProcessEnv = process.env): string {
  return connection.startsWith(REMOTE_PREFIX)
    ? readRemote(connection.slice(REMOTE_PREFIX.length), environment).project
    : "default";
}

/**
 * Reads a remote from the Incus client's folder (`INCUS_CONF`, else `~/.config/incus`).
 * @throws VisibleError where there is none of that name, or it is no Incus that can be administered
 */
export function readRemote(name: string, environment: NodeJS.ProcessEnv): Remote {
  const directory = clientDirectory(environment);
  const file = join(directory, "config.yml");
  const found = remotesIn(file);
  const remote = found[name] ?? (name === "local" ? LOCAL : undefined);
  if (!remote) {
    const known = [...new Set(["local", ...Object.keys(found)])].join(", ");
    throw new VisibleError(`there is no remote ${name} in ${file}. Known there: ${known}`);
  }
  if (remote.protocol !== "incus" || remote.public)
    throw new VisibleError(
      `remote ${name} is a server of images (${remote.protocol}), no Incus that can be administered. Name another`,
    );
  if (remote.auth_type !== "tls")
    throw new VisibleError(
      `remote ${name} logs in by ${remote.auth_type}, which asks a person. Have the host trust a certificate instead: incus remote add NAME TOKEN`,
    );
  const own = [join(directory, "clientcerts", `${name}.crt`), join(directory, "clientcerts", `${name}.key`)];
  const [certificateFile = "", keyFile = ""] = own.every((one) => existsSync(one))
    ? own
    : [join(directory, "client.crt"), join(directory, "client.key")];
  return {
    addresses: remote.addr.split(",").map((one) => one.trim()),
    project: remote.project || "default",
    serverCertificateFile: join(directory, "servercerts", `${name}.crt`),
    certificateFile,
    keyFile,
  };
}

function remotesIn(file: string): NonNullable<z.infer<typeof Config>["remotes"]> {
  if (!existsSync(file)) return {};
  try {
    return Config.parse(parse(readFileSync(file, "utf8")) ?? {}).remotes ?? {};
  } catch (error) {
    const reason = error instanceof z.ZodError ? "it has another form" : messageOf(error).split("\n")[0];
    throw new VisibleError(`${file} cannot be read as the Incus client's config: ${reason}`);
  }
}
