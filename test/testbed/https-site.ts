import { createReadStream } from "node:fs";
import { mkdtemp, readFile, stat } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { execa } from "execa";
import type { IncusDaemon } from "./daemon.ts";

/** A web site with one file. */
export type Site = {
  /** `https://localhost:<port>/file`. */
  url: string;
  /** Certificate for NODE_EXTRA_CA_CERTS: nobody else vouches for this site. */
  caFile: string;
  /** Number of requests so far. */
  requests(): number;
  close(): Promise<void>;
};

/** Serves a file over https on this machine; `/redirect` leads to it. */
export async function serveFile(daemon: IncusDaemon, file: string): Promise<Site> {
  const dir = await mkdtemp(join(daemon.env.INCUS_CONF, "site-"));
  const caFile = join(dir, "site.crt");
  const keyFile = join(dir, "site.key");
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", keyFile];
  const name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  await execa("openssl", ["req", "-x509", ...key, "-out", caFile, "-days", "2", ...name], {
    stdin: "ignore",
    timeout: 30_000,
  });
  const { size } = await stat(file);
  let requests = 0;
  const server = createServer(
    { cert: await readFile(caFile), key: await readFile(keyFile) },
    (request, response) => {
      requests += 1;
      if (request.url === "/redirect") response.writeHead(302, { location: "/file" }).end();
      else if (request.url !== "/file") response.writeHead(404).end();
      else {
        response.writeHead(200, { "content-length": size });
        createReadStream(file).pipe(response);
      }
    },
  );
  await new Promise<void>((resolve) => server.listen(0, "localhost", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `https://localhost:${port}/file`,
    caFile,
    requests: () => requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
