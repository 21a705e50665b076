import type { Action } from "./types.ts";

/** What is done to the host itself before all else: the lines of its dry run, each `subject: what`. */
export function preparationActions(lines: readonly string[] = []): Action[] {
  return lines.map((line) => {
    const [, subject = "host", reason = line] = /^([a-z]+): (.*)$/.exec(line) ?? [];
    return { kind: "prepare", object: `host's ${subject}`, reason };
  });
}
