import { createReadStream, createWriteStream, existsSync } from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import { createServer, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { basename, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { boardCache } from "./board-root.ts";

/** A way to Debian's packages for a board whose network leads nowhere else. */
export type PackageProxy = {
  /** For apt's `Acquire::http::Proxy`. */
  url: string;
  close(): Promise<void>;
};

/** Starts a proxy for apt at an address of this machine. Packages are kept: they never change under one name. */
export async function startPackageProxy(address: string): Promise<PackageProxy> {
  const server = createServer((incoming, response) => {
    relay(incoming.url ?? "", incoming.headers, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${address}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function relay(url: string, headers: NodeJS.Dict<string | string[]>, response: ServerResponse) {
  if (!url.endsWith(".deb")) {
    await fetchTo(url, headers, response);
    return;
  }
  const packages = join(boardCache(), "packages");
  const file = join(packages, basename(new URL(url).pathname));
  if (!existsSync(file)) {
    await mkdir(packages, { recursive: true });
    const part = `${file}.${process.pid}.${++parts}`;
    await download(url, part);
    await rename(part, file);
  }
  await pipeline(createReadStream(file), response);
}

let parts = 0;

function fetchTo(
  url: string,
  headers: NodeJS.Dict<string | string[]>,
  response: ServerResponse,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const { connection: _, "proxy-connection": __, ...kept } = headers;
    request(url, { headers: kept }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      pipeline(answer, response).then(resolve, reject);
    })
      .on("error", reject)
      .end();
  });
}

function download(url: string, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    request(url, (answer) => {
      if (answer.statusCode === 200) pipeline(answer, createWriteStream(file)).then(resolve, reject);
      else reject(new Error(`${url} answered ${answer.statusCode}`));
    })
      .on("error", reject)
      .end();
  });
}
