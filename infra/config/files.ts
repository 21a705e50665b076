import { accessSync, constants, statSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { VisibleError } from "@taos-hosts/providers";
import type { HostConfig } from "./config.ts";
import { mapValues } from "./map-values.ts";
import { withImagePaths, withTlsPaths } from "./paths.ts";
import { HOSTS_KEY } from "./stack-yaml.ts";
import { configPath, quote } from "./text.ts";

/**
 * Looks whether every file that the config names is there and readable, and makes its path absolute: relative ones
 * count from `baseDirectory` (where Pulumi.yaml is), `~/` from the home directory.
 * @throws VisibleError listing every file that is missing, with its config path
 */
export function checkFiles(
  hosts: Record<string, HostConfig>,
  baseDirectory: string,
): Record<string, HostConfig> {
  const problems: string[] = [];
  const located = mapValues(hosts, (host) => {
    const below =
      (...path: PropertyKey[]) =>
      (file: string, key: string): string => {
        const absolute = file.startsWith("~/")
          ? join(homedir(), file.slice(2))
          : resolve(baseDirectory, file);
        const problem = fileProblem(absolute);
        if (problem !== undefined)
          problems.push(
            `${HOSTS_KEY}.${configPath([host.name, ...path, key])}: ${quote(absolute)} ${problem}.`,
          );
        return absolute;
      };
    return {
      ...host,
      connection: withTlsPaths(host.connection, below("tls")),
      images: host.images.map(({ alias, source }, index) =>
        source ? { alias, source: withImagePaths(source, below("images", index)) } : { alias },
      ),
      agents: mapValues(host.agents, (agent, name) => ({
        ...agent,
        files: agent.files.map((file, index) =>
          file.source === undefined
            ? file
            : { ...file, source: below("agents", name, "files", index)(file.source, "source") },
        ),
      })),
    };
  });
  if (problems.length > 0) {
    throw new VisibleError(
      `The stack config names files that cannot be used; nothing was done.\n${problems.join("\n")}`,
    );
  }
  return located;
}

function fileProblem(path: string): string | undefined {
  try {
    if (!statSync(path).isFile()) return "is no file";
    accessSync(path, constants.R_OK);
    return undefined;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : "";
    return code === "EACCES" ? "may not be read" : "does not exist";
  }
}
