import { accessSync, constants, statSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { type ImageSource, VisibleError } from "@taos-hosts/providers";
import type { AgentConfig, HostConfig } from "./config.ts";
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
  const locate = (path: PropertyKey[], file: string): string => {
    const absolute = file.startsWith("~/") ? join(homedir(), file.slice(2)) : resolve(baseDirectory, file);
    const problem = fileProblem(absolute);
    if (problem !== undefined)
      problems.push(`${HOSTS_KEY}.${configPath(path)}: ${quote(absolute)} ${problem}.`);
    return absolute;
  };
  const located = Object.fromEntries(
    Object.entries(hosts).map(([name, host]) => [name, locateFiles(host, locate)]),
  );
  if (problems.length > 0) {
    throw new VisibleError(
      `The stack config names files that cannot be used; nothing was done.\n${problems.join("\n")}`,
    );
  }
  return located;
}

type Locate = (path: PropertyKey[], file: string) => string;

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

function locateFiles(host: HostConfig, locate: Locate): HostConfig {
  const { tls } = host.connection;
  const here = (...path: PropertyKey[]): PropertyKey[] => [host.name, ...path];
  const connection = { ...host.connection };
  if (tls) {
    const located = { ...tls };
    for (const key of ["certificateFile", "keyFile", "serverCertificateFile"] as const) {
      const file = tls[key];
      if (file !== undefined) located[key] = locate(here("tls", key), file);
    }
    connection.tls = located;
  }
  return {
    ...host,
    connection,
    images: host.images.map(({ alias, source }, index) => {
      if (!source) return { alias };
      return { alias, source: locateImage(source, (key, file) => locate(here("images", index, key), file)) };
    }),
    agents: Object.fromEntries(
      Object.entries(host.agents).map(([name, agent]) => [
        name,
        locateAgent(agent, here("agents", name), locate),
      ]),
    ),
  };
}

function locateImage(source: ImageSource, locate: (key: string, file: string) => string): ImageSource {
  if ("url" in source) return source;
  if ("file" in source) return { ...source, file: locate("file", source.file) };
  return { metadata: locate("metadata", source.metadata), rootfs: locate("rootfs", source.rootfs) };
}

function locateAgent(agent: AgentConfig, here: PropertyKey[], locate: Locate): AgentConfig {
  const files = agent.files.map((file, index) =>
    file.source === undefined
      ? file
      : { ...file, source: locate([...here, "files", index, "source"], file.source) },
  );
  return { ...agent, files };
}
