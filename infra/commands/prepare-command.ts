import { text } from "node:stream/consumers";
import { clientFor, HostConnection, messageOf, prepareHost, VisibleError } from "@taos-hosts/providers";
import { z } from "zod";
import { prepareScript } from "../config/prepare-script.ts";

/** What a host's preparation is given on standard input: nothing of it is an argument that others could see. */
const Request = z.strictObject({
  host: HostConnection,
  wish: z.strictObject({ httpsAddress: z.string().optional() }),
  /** Why nothing may be done in this run. */
  hold: z.string().optional(),
});

/** Prepares one host: what Pulumi's command of it runs (host/preparation.ts). A line for each thing that is done. */
async function main(): Promise<void> {
  const { host, wish, hold } = Request.parse(JSON.parse(await text(process.stdin)));
  if (hold !== undefined) throw new VisibleError(hold);
  const client = clientFor(host);
  try {
    await prepareHost(client, prepareScript(), wish, (lines) => process.stdout.write(lines));
  } finally {
    await client.close();
  }
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(
      `${error instanceof VisibleError ? messageOf(error) : error instanceof Error ? error.stack : error}\n`,
    );
    process.exit(1);
  },
);
