import { appendFile, readFile } from "node:fs/promises";
import { withFileLock } from "./file-lock.ts";

/** Lets root map id 1000 into containers, as `raw.idmap` needs; incusd reads both files when it starts. */
export async function allowIdmapOf1000(): Promise<void> {
  await withFileLock("/run/taos-hosts-test/subordinate-ids.lock", async () => {
    for (const file of ["/etc/subuid", "/etc/subgid"]) {
      const text = await readFile(file, "utf8").catch(() => "");
      if (text.split("\n").includes("root:1000:1")) continue;
      const separator = text === "" || text.endsWith("\n") ? "" : "\n";
      await appendFile(file, `${separator}root:1000:1\n`);
    }
  });
}
