import { writeFile } from "node:fs/promises";
import { messageOf, VisibleError } from "@taos-hosts/providers";
import type { FleetHost } from "../fleet/fleet-file.ts";
import type { FleetState } from "../fleet/fleet-state.ts";
import type { HostResult } from "../fleet/outcome.ts";
import { pageText } from "./page-file.ts";

/**
 * Writes the page of a fleet.
 * @param results of `drift`, each with its look. @param file undefined for standard output
 * @throws VisibleError where the file cannot be written
 */
export async function writeFleetPage(
  file: string | undefined,
  hosts: readonly FleetHost[],
  results: readonly HostResult[],
  state: FleetState,
): Promise<void> {
  const text = await pageText({
    title: "Fleet",
    madeAt: new Date().toISOString(),
    hosts: hosts.flatMap((host) => {
      const result = results.find((one) => one.host === host.name);
      if (!result?.plan) return [];
      const { outcome, reason, plan } = result;
      const { name, paused, wave, tags } = host;
      return [{ name, outcome, reason, paused, wave, tags, lastUp: state.lastUp(host), plan }];
    }),
  });
  if (file === undefined) {
    process.stdout.write(text);
    return;
  }
  await writeFile(file, text).catch((error: unknown) => {
    throw new VisibleError(`The page cannot be written: ${messageOf(error)}.`);
  });
}
