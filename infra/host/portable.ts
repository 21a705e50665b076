import { relative } from "node:path";

/** A path as the provider process resolves it, from this program's directory: the same on every machine. */
export function portable(path: string): string {
  const fromHere = relative(process.cwd(), path);
  return fromHere.startsWith("../../") ? path : fromHere;
}
