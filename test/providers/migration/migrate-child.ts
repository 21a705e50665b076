import { readlinkSync } from "node:fs";
import { z } from "zod";
import { clientFor } from "../../../providers/incus/client.ts";
import { migrate, rollBack } from "../../../providers/migration/engine.ts";
import type { MoveRequest } from "../../../providers/migration/move.ts";

/**
 * A process that migrates one container, or puts it back, and kills or freezes itself, with no
 * chance to clean up, at a named point.
 */
const Argument = z.object({
  connection: z.string(),
  request: z.custom<MoveRequest>(),
  dieAt: z.string(),
  /** What it sends itself there. */
  signal: z.enum(["SIGKILL", "SIGSTOP"]).default("SIGKILL"),
  task: z.enum(["migrate", "rollBack"]).default("migrate"),
});

const { connection, request, dieAt, signal, task } = Argument.parse(JSON.parse(process.argv[2] ?? ""));
// As the machine knows it, also from within another pid namespace.
process.stdout.write(`process ${readlinkSync("/proc/self")}\n`);
const client = clientFor({ name: "host", connection });
await (task === "migrate" ? migrate : rollBack)(client, request, {
  progress: (line) => process.stdout.write(`${line}\n`),
  onStep: (point) => {
    if (point === dieAt) process.kill(process.pid, signal);
  },
});
process.stdout.write("ended\n");
process.exit(0);
