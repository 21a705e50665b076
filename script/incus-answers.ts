/** `incus-answers.ts SOCKET`: exits 0 when an Incus daemon answers there, 1 when none does, 2 when this user may not ask. */
import { get } from "node:http";

/** The first connection starts a daemon that systemd keeps asleep, which takes its time on small boards. */
const deadlineMs = 60_000;

function ask(socketPath: string): Promise<number> {
  return new Promise((resolve) => {
    const request = get({ socketPath, path: "/1.0", signal: AbortSignal.timeout(deadlineMs) }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode === 200 ? 0 : 1));
    });
    request.on("error", (error: NodeJS.ErrnoException) => resolve(error.code === "EACCES" ? 2 : 1));
  });
}

const socket = process.argv[2];
if (socket === undefined) throw new Error("Usage: incus-answers.ts SOCKET");
process.exitCode = await ask(socket);
