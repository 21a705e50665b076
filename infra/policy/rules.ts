/**
 * Rules of the policy pack. Policies see the resources of the new state and never a deletion itself, so a deletion is
 * told from what is missing: each Host says which protected containers of this stack its look found, and each of them
 * must be declared. A replacement is made impossible by `protect`, which every protected container must have.
 */

/** What is used of a resource that Pulumi shows to a policy. */
export interface SeenResource {
  type: string;
  /** Name in the URN: `<host>/<container>` for what a Host declares. */
  name: string;
  /** Inputs or outputs; unknown ones are absent in a preview. */
  props: Record<string, unknown>;
  opts: { protect: boolean };
}

const INSTANCE = "pulumi-nodejs:dynamic/incus:Instance";
const HOST = "taos-hosts:infra:Host";

/** What is wrong with one resource, or undefined. A container counts as protected unless it says `protected: false`. */
export function unprotectedInstance({ type, name, props, opts }: SeenResource): string | undefined {
  if (type !== INSTANCE || opts.protect || props["protected"] === false) return undefined;
  return `Container ${name} is protected, but its resource lacks Pulumi's protect option, so a replacement or its removal would delete it. Declare it through Host, or set protected: false on it.`;
}

/** Protected containers that are on a host and that this stack made, and that the program no longer declares. */
export function undeclaredContainers(resources: readonly SeenResource[]): string[] {
  const declared = new Set(resources.filter(({ type }) => type === INSTANCE).map(({ name }) => name));
  return resources
    .filter(({ type }) => type === HOST)
    .flatMap((host) => namesOf(host.props["protectedAgents"]).map((name) => `${host.name}/${name}`))
    .filter((name) => !declared.has(name))
    .map(
      (name) =>
        `Container ${name} is protected and the config no longer names it, so this run would delete it. Put it back under agents; or set protected: false on it, run up, and take it out then.`,
    );
}

function namesOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
}
