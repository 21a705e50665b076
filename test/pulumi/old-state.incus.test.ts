import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type IncusDaemon, startDaemon } from "../testbed/daemon.ts";
import { recordEvents } from "../testbed/events.ts";
import { importImage } from "../testbed/images.ts";
import { changesOf, createStack, errorsOf, type TestStack } from "./stack.ts";

interface Resource {
  urn: string;
  type: string;
  inputs?: Record<string, unknown>;
  outputs?: Record<string, unknown>;
}

interface State {
  deployment: { resources: Resource[]; secrets_providers?: unknown };
}

/**
 * States that earlier versions left, as `pulumi stack export --show-secrets` gave them, with what differs from host to
 * host as {{NAME}}. Never changed: what they hold must be opened for ever. A version that keeps another layout adds one.
 */
const STATES = ["0.1"];

describe.each(STATES)("the state of version %s", { timeout: 180_000 }, (version) => {
  let d: IncusDaemon;
  let stack: TestStack;
  const agent = {
    ...{ image: "bb", protected: false, memory: "1GiB", environment: { TOKEN: "a-token" } },
    files: [{ path: "/srv/note", content: "from before", mode: "0600" }],
  };

  beforeAll(async () => {
    d = await startDaemon({ name: "old-state" });
    await importImage(d, "bb");
    await d.incus("storage", "create", "disk", "dir");
    await d.incus("init", "bb", "mary", "-s", "disk", "--no-profiles");
    const board = { connection: `unix:${d.socketPath}`, pool: { size: "6GiB" }, images: ["bb"] };
    const hosts = { board: { ...board, containers: { mary: {} }, agents: { iris: agent } } };
    stack = await createStack({ name: "kept", hosts });
  });
  afterAll(async () => {
    await stack?.remove();
    await d?.remove();
  });

  /** The state as that version would have left it of the host that is here now. */
  async function oldState(): Promise<string> {
    const host: Record<string, string> = {
      SOCKET: d.socketPath,
      UUID: (await d.incus("config", "get", "iris", "volatile.uuid")).trim(),
      IPV4: await d.ipv4("iris"),
      FINGERPRINT: (await d.query<{ target: string }>("/1.0/images/aliases/bb")).target,
    };
    const text = await readFile(join(import.meta.dirname, "states", `${version}.json`), "utf8");
    const filled = text.replaceAll(/\{\{([A-Z0-9]+)\}\}/g, (whole, name: string) => host[name] ?? whole);
    const state = JSON.parse(filled) as State;
    const now = JSON.parse(await stack.pulumi(["stack", "export", "--stack", stack.name])) as State;
    // Secrets are in clear in it; they get this stack's key.
    state.deployment.secrets_providers = now.deployment.secrets_providers;
    for (const { type, inputs, outputs } of state.deployment.resources) {
      const kind = type.split(":").at(-1) ?? "";
      for (const props of [inputs, outputs]) {
        if (props?.["__provider"] === "{{SHIM}}") props["__provider"] = await shimText(kind);
      }
    }
    return JSON.stringify(state);
  }

  const shimText = (kind: string): Promise<string> =>
    readFile(join(import.meta.dirname, "../providers/pulumi/shim-text", `${kind}.txt`), "utf8");

  test("is opened, read, found as wanted, and destroyed", async () => {
    expect(errorsOf(await stack.up())).toBe("");
    await stack.pulumi(["stack", "import", "--stack", stack.name], { input: await oldState() });
    const record = await recordEvents(d);

    const preview = await stack.preview();
    expect(errorsOf(preview)).toBe("");
    expect(changesOf(preview)).toEqual([]);
    const up = await stack.up();
    expect(errorsOf(up)).toBe("");
    expect(changesOf(up)).toEqual([]);
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
    expect(await stack.stateText()).not.toContain("a-token");

    expect(errorsOf(await stack.destroy())).toBe("");
    const left = await d.query<{ name: string }[]>("/1.0/instances?recursion=1");
    expect(left.map(({ name }) => name)).toEqual(["mary"]);
    expect(await d.incus("storage", "list", "--format", "csv", "--columns", "n")).toBe("disk");
  });
});
