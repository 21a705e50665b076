import { connect } from "node:net";
import { CancelledError } from "./errors.ts";

const controller = new AbortController();
let watching = false;

/**
 * Aborts when this process is told to stop, or when the Pulumi engine that started it is gone: a killed CLI
 * leaves its provider process behind, and that must not go on writing beside the next run.
 */
export function lifetimeSignal(): AbortSignal {
  if (!watching) {
    watching = true;
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.once(signal, () => {
        controller.abort(
          new CancelledError(`Cancelled by ${signal}. The next run goes on from what the host shows.`),
        );
        // Waiting requests see the abort first, then the process ends.
        setTimeout(() => process.exit(130), 1_000).unref();
      });
    }
    watchEngine();
  }
  return controller.signal;
}

/** For a command that ends in an order of its own: `signal` stands for its life, and signals do not end the process. */
export function liveUntil(signal: AbortSignal): void {
  watching = true;
  signal.addEventListener("abort", () => controller.abort(signal.reason), { once: true });
}

/**
 * The engine passes its own address as the dynamic provider's first argument. A connection to it ends when it dies;
 * gRPC servers also close connections that never speak, so the engine is gone only when dialling again fails too.
 */
function watchEngine(): void {
  const match = /^127\.0\.0\.1:(\d+)$/.exec(process.argv[2] ?? "");
  if (!match || !process.argv[1]?.includes("dynamic-provider")) return;
  const port = Number(match[1]);
  const dial = (wasConnected: boolean): void => {
    let connected = false;
    const socket = connect({ host: "127.0.0.1", port });
    socket.unref();
    socket.on("connect", () => {
      connected = true;
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      if (connected) dial(true);
      else if (wasConnected) {
        controller.abort(
          new CancelledError(
            "The Pulumi engine has gone away. The next run goes on from what the host shows.",
          ),
        );
        setTimeout(() => process.exit(1), 1_000).unref();
      }
    });
    socket.resume();
  };
  dial(false);
}
