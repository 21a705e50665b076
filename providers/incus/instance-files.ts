import { IncusApiError } from "../common/errors.ts";
import { poll } from "../common/poll.ts";
import { type IncusClient, noneWhereMissing } from "./client.ts";
import type { InstanceRef } from "./instances.ts";
import { api } from "./paths.ts";

const path = ({ name }: InstanceRef): string => api("instances", name, "files");
const query = ({ project }: InstanceRef, file: string) => ({ project, path: file });

/** Milliseconds that Incus may have no file server for an instance, and between two questions. */
const FILE_SERVER_DEADLINE = 5_000;
const FILE_SERVER_EVERY = 100;

/**
 * Asks again while Incus has no file server for an instance: it starts one for each (forkfile), which ends when the
 * instance starts or stops, and a request that falls in between is answered with 500 and the name of its socket.
 */
async function withFileServer<T>(request: () => Promise<T>): Promise<T> {
  let refusal: unknown;
  const answered = await poll(
    async () => {
      try {
        return { value: await request() };
      } catch (error) {
        if (!(error instanceof IncusApiError && error.status === 500 && /forkfile/.test(error.reason)))
          throw error;
        refusal = error;
        return undefined;
      }
    },
    { every: FILE_SERVER_EVERY, deadline: FILE_SERVER_DEADLINE },
  );
  if (!answered) throw refusal;
  return answered.value;
}

/** One file or directory to push. `mode` is octal text such as `0644`. */
export interface FilePush {
  path: string;
  type: "file" | "directory";
  uid: number;
  gid: number;
  mode: string;
  content?: Buffer;
}

/** A file of an instance as it is there. `target` is where a symbolic link leads. */
export interface FoundFile {
  type: string;
  uid: number;
  gid: number;
  /** Octal. */
  mode: string;
  target?: string;
}

/** What is at a path inside an instance; undefined where there is nothing. Follows no link at its end. */
export async function findFile(
  client: IncusClient,
  ref: InstanceRef,
  file: string,
): Promise<FoundFile | undefined> {
  const answer = await withFileServer(() =>
    noneWhereMissing(client.requests.stream(path(ref), { query: query(ref, file) })),
  );
  if (!answer) return undefined;
  const { headers, body } = answer;
  const [type = "", uid, gid, mode = ""] = ["type", "uid", "gid", "mode"].map((name) =>
    String(headers[`x-incus-${name}`] ?? ""),
  );
  const found = { type, uid: Number(uid), gid: Number(gid), mode };
  if (found.type === "symlink") return { ...found, target: (await body.text()).trim() };
  await body.dump();
  return found;
}

/** Deletes a file inside an instance. */
export function deleteFile(client: IncusClient, ref: InstanceRef, file: string): Promise<void> {
  return withFileServer(() => client.write("DELETE", path(ref), { query: query(ref, file) }));
}

/** Writes a file or makes a directory inside an instance, running or stopped. Existing directories are left alone. */
export function pushFile(client: IncusClient, ref: InstanceRef, file: FilePush): Promise<void> {
  return withFileServer(() =>
    client.write("POST", path(ref), {
      query: query(ref, file.path),
      headers: {
        "content-type": "application/octet-stream",
        "x-incus-type": file.type,
        "x-incus-uid": String(file.uid),
        "x-incus-gid": String(file.gid),
        "x-incus-mode": file.mode,
        "x-incus-write": "overwrite",
      },
      raw: file.content ?? Buffer.alloc(0),
    }),
  );
}
