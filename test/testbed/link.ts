import { createConnection, createServer, type Socket } from "node:net";

/** A relay in front of a TCP server: a link with delay that can be cut, and that counts round trips. */
export type Link = {
  readonly port: number;
  /**
   * Round trips so far: how often something went there after something had come back. What goes side by side counts
   * once; what the two sides send by themselves counts too.
   */
  roundTrips(): number;
  /** Ends all connections at once. */
  cut(): void;
  /** Loses everything in both directions, new connections included, while neither side is told; until `mend`. */
  drop(): void;
  /** What was lost stays lost: connections of the time before end. */
  mend(): void;
  close(): Promise<void>;
};

/** @param delay milliseconds each way */
export async function startLink(to: { host: string; port: number }, delay: number): Promise<Link> {
  const sockets = new Set<Socket>();
  let isLosing = false;
  let turns = 0;
  let direction: "there" | "back" = "back";
  const pass = (from: Socket, target: Socket, way: "there" | "back"): void => {
    from.on("data", (chunk) => {
      if (isLosing) return;
      if (way === "there" && direction === "back") turns += 1;
      direction = way;
      setTimeout(() => target.writable && target.write(chunk), delay);
    });
    from.on("error", () => undefined);
    from.on("close", () => {
      sockets.delete(from);
      if (!isLosing) setTimeout(() => target.destroy(), delay);
    });
    sockets.add(from);
  };
  const server = createServer((client) => {
    const upstream = createConnection(to);
    pass(client, upstream, "there");
    pass(upstream, client, "back");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: typeof address === "object" && address ? address.port : 0,
    roundTrips: () => turns,
    cut,
    drop() {
      isLosing = true;
    },
    mend() {
      isLosing = false;
      cut();
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      cut();
      await closed;
    },
  };
}
