import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { commandOf } from "./run.ts";

/** Files below a directory that hold a text, apart from `except`. */
export async function filesWith(
  text: string,
  directory: string,
  except: readonly string[] = [],
): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const found = await Promise.all(
    files
      .filter((file) => !except.includes(file))
      .map(async (file) => ((await readFile(file)).includes(text) ? [file] : [])),
  );
  return found.flat();
}

/** Watches the arguments of all processes of the machine, as `ps` shows them, until `task` has ended. */
export async function commandsDuring(task: Promise<unknown>): Promise<string[]> {
  const seen = new Set<string>();
  let running = true;
  const end = (): void => {
    running = false;
  };
  task.then(end, end);
  while (running) {
    for (const name of await readdir("/proc")) {
      if (/^\d+$/.test(name)) seen.add(await commandOf(Number(name)));
    }
    await delay(20);
  }
  return [...seen];
}
