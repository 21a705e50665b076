import { z } from "zod";
import { clientFor } from "../../../providers/incus/client.ts";
import { migrate, rollBack } from "../../../providers/migration/engine.ts";
import type { MoveRequest } from "../../../providers/migration/move.ts";

/** A process that migrates one container, or puts it back, and kills itself, with no chance to clean up, at a named point. */
const Argument = z.object({
  socketPath: z.string(),
  request: z.custom<MoveRequest>(),
  dieAt: z.string(),
  task: z.enum(["migrate", "rollBack"]).default("migrate"),
});

const { socketPath, request, dieAt, task } = Argument.parse(JSON.parse(process.argv[2] ?? ""));
const client = clientFor({ name: "host", connection: `unix:${socketPath}` });
await (task === "migrate" ? migrate : rollBack)(client, request, {
  progress: (line) => process.stdout.write(`${line}\n`),
  onStep: (point) => {
    if (point === dieAt) process.kill(process.pid, "SIGKILL");
  },
});
process.stdout.write("ended\n");
process.exit(0);
