import { storagePoolProvider } from "../../providers/storage-pool.ts";

/** The process that a provider is: brings one pool to its wish, as `up` asks for it, unless it is killed. */
try {
  await storagePoolProvider.create(JSON.parse(process.argv[2] ?? ""));
  process.stdout.write("ended\n");
  process.exit(0);
} catch (error) {
  process.stdout.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
