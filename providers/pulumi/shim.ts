/** Kinds of resources. Old state names them: never rename or reuse one. */
export const KINDS = [
  "Instance",
  "InstancePlacement",
  "Network",
  "ProfileDevices",
  "StoragePool",
  "WarmImage",
] as const;
export type Kind = (typeof KINDS)[number];

/** Methods of a dynamic provider as the text declares them: the number of the function, its parameters with their blanks. */
const METHODS = [
  { name: "check", number: 1, parameters: "olds         , news         " },
  { name: "diff", number: 3, parameters: "id        , olds         , news         " },
  { name: "create", number: 4, parameters: "inputs         " },
  { name: "read", number: 5, parameters: "id        , props         " },
  { name: "update", number: 6, parameters: "id        , olds         , news         " },
  { name: "delete", number: 7, parameters: "id        , props         " },
] as const;

const LOAD = `(kind        ) =>
  require("node:module").createRequire(\`\${process.cwd()}/_\`)("@taos-hosts/providers").get(kind)`;

/** One function as Pulumi's serializer writes it. */
function serialized(number: number, arity: number, scope: readonly string[], returned: string): string {
  const parameters = Array.from({ length: arity }, (_, index) => `__${index}`).join(", ");
  return `function __f${number}(${parameters}) {
  return (function() {
    with({ ${[...scope, "this: undefined", "arguments: undefined"].join(", ")} }) {

return ${returned};

    }
  }).apply(undefined, undefined).apply(this, arguments);
}
`;
}

/**
 * What Pulumi keeps in state as the code of a resource: a few lines that load this package by name in the provider
 * process, so that new code rewrites no state. It is, to the byte, what Pulumi's serializer made of such functions in
 * 0.1, blanks of erased types included; written here, no run has to load a TypeScript compiler for it. The specifier,
 * `get` and the kinds are an ABI.
 */
export function shimText(kind: Kind): string {
  const functions = METHODS.map(({ name, number, parameters }) => {
    const passed = parameters.split(",").map((parameter) => parameter.trim());
    const method = `(${parameters}) => load(kind).${name}(${passed.join(", ")})`;
    return serialized(number, passed.length, ["load: __f2", `kind: "${kind}"`], method);
  });
  const fields = METHODS.map(({ name, number }) => `${name}: __f${number}`).join(", ");
  return [
    `exports.handler = __f0;\n`,
    `var __provider = {${fields}};\n`,
    serialized(2, 1, [], LOAD),
    ...functions,
    serialized(0, 0, ["provider: __provider"], "() => provider"),
  ].join("\n");
}
