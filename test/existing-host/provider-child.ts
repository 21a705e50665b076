import { get } from "../../providers/index.ts";

/** The process that a provider is: one call of one kind, as Pulumi makes it, unless it is killed. */
try {
  const [kind, method, ...args] = JSON.parse(process.argv[2] ?? "") as [
    "StoragePool",
    "create",
    ...unknown[],
  ];
  const provider = get(kind) as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  await provider[method]?.(...args);
  process.stdout.write("ended\n");
  process.exit(0);
} catch (error) {
  process.stdout.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
