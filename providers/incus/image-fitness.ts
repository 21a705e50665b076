import type { Image } from "./schemas.ts";

/**
 * Why no container of a host can be made from an image; undefined where one can.
 * @param architectures that the host runs (`environment.architectures`); empty where unknown
 */
export function unfitness(
  { type, architecture }: Pick<Image, "type" | "architecture">,
  architectures: readonly string[],
): string | undefined {
  if (type !== "container") return "it is an image of virtual machines";
  if (architecture === "" || architectures.length === 0 || architectures.includes(architecture))
    return undefined;
  return `it is for ${architecture}, and the host runs ${architectures.join(", ")}`;
}
